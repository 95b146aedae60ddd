/** Hidden states in device memory, one buffer per batch. */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import { ScratchStates } from "./scratch_states.ts";
import type { BatchBytes, StatesStore } from "./states_store.ts";

/** Stores hidden states on the device. */
export class DeviceStates implements StatesStore {
  readonly needsBytes = false;
  readonly #backend: Backend;
  readonly #batches: readonly BatchBytes[];
  readonly #buffers: DeviceBuffer[] = [];
  readonly #scratch: ScratchStates;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#backend = backend;
    this.#batches = batches;
    this.#scratch = new ScratchStates(backend, batches);
  }

  put(index: number, bytes: Uint8Array): void {
    const buffer = this.#backend.createBuffer("hidden states", bytes.byteLength);
    this.#buffers[index] = buffer;
    this.#backend.write(buffer, 0, bytes);
  }

  async *bring(
    _block: number,
    copy: boolean,
  ): AsyncGenerator<[index: number, states: DeviceBuffer], void, undefined> {
    for (const [index, { length }] of this.#batches.entries()) {
      yield [index, copy ? this.#scratch.copyOf(this.#buffers[index], length) : this.#buffers[index]];
    }
  }

  /** Does nothing, because the states were changed in place. */
  putBack(): void {}

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#scratch.destroy();
  }
}
