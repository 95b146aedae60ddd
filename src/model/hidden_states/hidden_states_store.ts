/**
 * The places where hidden states are stored between two blocks: device memory and host memory in this file, and a file on the disk in
 * `disk_store.ts`. Each store hands out one batch of windows at a time. The store on the device keeps all batches there.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { freeArray } from "../../device/host_memory.ts";

/** The byte range of a batch in the hidden states of all windows. */
export interface BatchBytes {
  readonly offset: number;
  readonly length: number;
}

/** A batch on the device: its index, and its states, (rows, columns) f32. */
export type DeviceBatch = readonly [index: number, states: DeviceBuffer];

export interface HiddenStatesStore {
  /** Whether `storeChanged` needs the bytes of a changed batch. Otherwise batches are changed in place. */
  readonly needsBytes: boolean;
  /** Device memory for one batch. */
  readonly scratch: ScratchBuffer;
  /** The states of the batches in order, if they are in host memory. */
  readonly hostBytes?: readonly Uint8Array[];
  /** Stores batch `index` of the states from which the forward pass starts. The store now owns `bytes`. */
  storeInitial(index: number, bytes: Uint8Array<ArrayBuffer>): void;
  /**
   * Puts the batches on the device, one after the other.
   * @param nextBlock the block whose inputs are stored
   * @param copy whether the stored states must stay unchanged if the caller overwrites the states on the device
   * @param from the index of the first batch
   */
  onDevice(nextBlock: number, copy: boolean, from: number): AsyncGenerator<DeviceBatch, void, undefined>;
  /** Stores the changed states of batch `index`. */
  storeChanged(index: number, bytes: Uint8Array): void;
  destroy(): void;
}

/** A reusable buffer that is allocated on first use. */
export class ScratchBuffer {
  readonly #backend: Backend;
  readonly #byteLength: number;
  #buffer?: DeviceBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#backend = backend;
    this.#byteLength = Math.max(...batches.map(({ length }) => length));
  }

  /** Queues the upload of `bytes` and returns the buffer. */
  upload(bytes: Uint8Array): DeviceBuffer {
    const buffer = this.#allocated();
    this.#backend.write(buffer, 0, bytes);
    return buffer;
  }

  /** Queues a copy of the first `byteLength` bytes of `source` and returns the buffer. */
  copyOf(source: DeviceBuffer, byteLength: number): DeviceBuffer {
    const buffer = this.#allocated();
    this.#backend.copy(source, 0, buffer, 0, byteLength);
    return buffer;
  }

  destroy(): void {
    this.#buffer?.destroy();
    this.#buffer = undefined;
  }

  #allocated(): DeviceBuffer {
    return this.#buffer ??= this.#backend.createBuffer("hidden states", this.#byteLength);
  }
}

export class DeviceStore implements HiddenStatesStore {
  readonly needsBytes = false;
  readonly #backend: Backend;
  readonly #batches: readonly BatchBytes[];
  readonly #buffers: DeviceBuffer[] = [];
  readonly scratch: ScratchBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#backend = backend;
    this.#batches = batches;
    this.scratch = new ScratchBuffer(backend, batches);
  }

  storeInitial(index: number, bytes: Uint8Array<ArrayBuffer>): void {
    const buffer = this.#backend.createBuffer("hidden states", bytes.byteLength);
    this.#buffers[index] = buffer;
    this.#backend.write(buffer, 0, bytes);
    freeArray(bytes);
  }

  async *onDevice(
    _nextBlock: number,
    copy: boolean,
    from: number,
  ): AsyncGenerator<DeviceBatch, void, undefined> {
    for (let index = from; index < this.#batches.length; index++) {
      const stored = this.#buffers[index], { length } = this.#batches[index];
      yield [index, copy ? this.scratch.copyOf(stored, length) : stored];
    }
  }

  /** Does nothing, because the states were changed in place. */
  storeChanged(): void {}

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.scratch.destroy();
  }
}

/** Hidden states in host memory. One batch at a time is uploaded to the device. */
export class HostStore implements HiddenStatesStore {
  readonly needsBytes = true;
  readonly hostBytes: Uint8Array[] = [];
  readonly scratch: ScratchBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.scratch = new ScratchBuffer(backend, batches);
  }

  storeInitial(index: number, bytes: Uint8Array): void {
    this.hostBytes[index] = bytes;
  }

  async *onDevice(
    _nextBlock: number,
    _copy: boolean,
    from: number,
  ): AsyncGenerator<DeviceBatch, void, undefined> {
    for (let index = from; index < this.hostBytes.length; index++) {
      yield [index, this.scratch.upload(this.hostBytes[index])];
    }
  }

  storeChanged(index: number, bytes: Uint8Array): void {
    this.hostBytes[index] = bytes;
  }

  destroy(): void {
    this.scratch.destroy();
  }
}
