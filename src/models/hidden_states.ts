/**
 * The hidden states of all windows between two blocks: on the device where they fit its share, else in host memory,
 * a batch visiting the device at a time. What is done to them is the caller's.
 */

import type { Backend, DeviceBuffer } from "../backend/backend.ts";
import type { Batch } from "./batches.ts";

/** Work on one batch's states, (batch.count · tokens, hidden) f32: queues kernels, and may read back. */
export type StatesWork = (states: DeviceBuffer, batch: Batch) => void | Promise<void>;

/** What {@link HiddenStates} holds. */
export interface HiddenStatesOptions {
  readonly batches: readonly Batch[];
  readonly tokens: number;
  readonly hiddenSize: number;
  /** Most bytes to keep on the device. */
  readonly deviceBytes: number;
}

/** The states of every window. Destroy it when done. */
export class HiddenStates {
  readonly batches: readonly Batch[];
  readonly #backend: Backend;
  readonly #windowBytes: number;
  readonly #onDevice: boolean;
  /** One a batch when on the device; else one that the batches share. */
  readonly #buffers: DeviceBuffer[] = [];
  readonly #host: Uint8Array[] = [];
  /** Takes a copy that may be overwritten. */
  #scratch?: DeviceBuffer;

  constructor(backend: Backend, { batches, tokens, hiddenSize, deviceBytes }: HiddenStatesOptions) {
    this.batches = batches;
    this.#backend = backend;
    this.#windowBytes = tokens * hiddenSize * 4;
    const windows = batches.reduce((sum, batch) => sum + batch.count, 0);
    this.#onDevice = windows * this.#windowBytes <= deviceBytes;
  }

  /** Sets batch `index` to `states`, (batch.count · tokens, hidden) f32; batches in order, each once. */
  append(states: Float32Array<ArrayBuffer>): void {
    const bytes = new Uint8Array(states.buffer, states.byteOffset, states.byteLength);
    if (!this.#onDevice) {
      this.#host.push(bytes);
      return;
    }
    const buffer = this.#backend.createBuffer("hidden states", bytes.byteLength);
    this.#buffers.push(buffer);
    this.#backend.write(buffer, 0, bytes);
  }

  /** Runs `work` on each batch in turn; what it does to the states stays. Tells `done` when a batch is finished. */
  async update(work: StatesWork, done?: (batch: Batch) => void): Promise<void> {
    for (const [i, batch] of this.batches.entries()) {
      const states = this.#onDevice ? this.#buffers[i] : this.#bring(i);
      await work(states, batch);
      if (this.#onDevice) await this.#backend.finish();
      else this.#host[i] = await this.#backend.read(states, 0, batch.count * this.#windowBytes);
      done?.(batch);
    }
  }

  /** As `update`, but on a copy of each batch: what `work` does to the states is forgotten. */
  async visit(work: StatesWork, done?: (batch: Batch) => void): Promise<void> {
    for (const [i, batch] of this.batches.entries()) {
      const states = this.#onDevice ? this.#copy(i) : this.#bring(i);
      await work(states, batch);
      // Waiting bounds how much is queued, and lets others run.
      await this.#backend.finish();
      done?.(batch);
    }
  }

  /** Frees the device's memory. */
  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.#scratch?.destroy();
  }

  #copy(index: number): DeviceBuffer {
    const scratch = this.#shared();
    const byteLength = this.batches[index].count * this.#windowBytes;
    this.#backend.copy(this.#buffers[index], 0, scratch, 0, byteLength);
    return scratch;
  }

  #bring(index: number): DeviceBuffer {
    const scratch = this.#shared();
    this.#backend.write(scratch, 0, this.#host[index]);
    return scratch;
  }

  #shared(): DeviceBuffer {
    const largest = Math.max(...this.batches.map((batch) => batch.count));
    return this.#scratch ??= this.#backend.createBuffer("hidden states", largest * this.#windowBytes);
  }
}
