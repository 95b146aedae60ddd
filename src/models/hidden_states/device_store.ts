/**
 * Stores the hidden states between two transformer blocks in device memory, in one buffer per batch of
 * windows.
 */

import type { Backend, DeviceBuffer } from "../../backend/backend.ts";
import type { BatchBytes, DeviceBatch, HiddenStatesStore } from "./hidden_states_store.ts";
import { ScratchBuffer } from "./scratch_buffer.ts";

/** Hidden states in device memory. */
export class DeviceStore implements HiddenStatesStore {
  readonly needsBytes = false;
  readonly #backend: Backend;
  readonly #batches: readonly BatchBytes[];
  readonly #buffers: DeviceBuffer[] = [];
  readonly #scratch: ScratchBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#backend = backend;
    this.#batches = batches;
    this.#scratch = new ScratchBuffer(backend, batches);
  }

  storeInitial(index: number, bytes: Uint8Array): void {
    const buffer = this.#backend.createBuffer("hidden states", bytes.byteLength);
    this.#buffers[index] = buffer;
    this.#backend.write(buffer, 0, bytes);
  }

  async *onDevice(_nextBlock: number, copy: boolean): AsyncGenerator<DeviceBatch, void, undefined> {
    for (const [index, { length }] of this.#batches.entries()) {
      yield [index, copy ? this.#scratch.copyOf(this.#buffers[index], length) : this.#buffers[index]];
    }
  }

  /** Does nothing, because the states were changed in place. */
  storeChanged(): void {}

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#scratch.destroy();
  }
}
