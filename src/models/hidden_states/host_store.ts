/** Hidden states in host memory. One batch at a time is uploaded to the device. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { ScratchStates } from "./scratch_states.ts";
import type { BatchBytes, StatesStore } from "./states_store.ts";

/** Stores hidden states in host memory. */
export class HostStates implements StatesStore {
  readonly needsBytes = true;
  readonly #bytes: Uint8Array[] = [];
  readonly #scratch: ScratchStates;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#scratch = new ScratchStates(backend, batches);
  }

  put(index: number, bytes: Uint8Array): void {
    this.#bytes[index] = bytes;
  }

  async *bring(): AsyncGenerator<[index: number, states: DeviceBuffer], void, undefined> {
    for (const [index, bytes] of this.#bytes.entries()) yield [index, this.#scratch.upload(bytes)];
  }

  putBack(index: number, bytes: Uint8Array): void {
    this.#bytes[index] = bytes;
  }

  destroy(): void {
    this.#scratch.destroy();
  }
}
