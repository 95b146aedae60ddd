/** Stores the hidden states between two transformer blocks in host memory, which is the memory of the CPU. */

import type { Backend } from "../../backend/backend.ts";
import type { BatchBytes, DeviceBatch, HiddenStatesStore } from "./hidden_states_store.ts";
import { ScratchBuffer } from "./scratch_buffer.ts";

/** Hidden states in host memory. One batch at a time is uploaded to the device. */
export class HostStore implements HiddenStatesStore {
  readonly needsBytes = true;
  readonly #bytes: Uint8Array[] = [];
  readonly #scratch: ScratchBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#scratch = new ScratchBuffer(backend, batches);
  }

  storeInitial(index: number, bytes: Uint8Array): void {
    this.#bytes[index] = bytes;
  }

  async *onDevice(): AsyncGenerator<DeviceBatch, void, undefined> {
    for (const [index, bytes] of this.#bytes.entries()) yield [index, this.#scratch.upload(bytes)];
  }

  storeChanged(index: number, bytes: Uint8Array): void {
    this.#bytes[index] = bytes;
  }

  destroy(): void {
    this.#scratch.destroy();
  }
}
