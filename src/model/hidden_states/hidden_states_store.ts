/**
 * The places where hidden states are stored between two blocks: device memory, host memory, or a file on the disk. Each store hands out one
 * batch of windows at a time. The store on the device keeps all batches there.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { freeArray } from "../../device/host_memory.ts";
import type { HiddenStatesFolder } from "./hidden_states_folder.ts";

/** The byte range of a batch in the hidden states of all windows. */
export interface BatchBytes {
  readonly offset: number;
  readonly length: number;
}

/** A batch on the device: its index, and its states, (rows, columns) f32. */
export type DeviceBatch = readonly [index: number, states: DeviceBuffer];

export abstract class HiddenStatesStore {
  /** Device memory for one batch. */
  readonly scratch: ScratchBuffer;
  /** The states of the batches in order, if they are in host memory. */
  readonly hostBytes?: readonly Uint8Array[];
  /** Whether a changed batch is stored by its bytes. Otherwise batches are changed in place. */
  readonly needsBytes: boolean = true;

  constructor(readonly backend: Backend, readonly batches: readonly BatchBytes[]) {
    this.scratch = new ScratchBuffer(backend, batches);
  }

  /**
   * Puts the batches on the device, one after the other.
   * @param nextBlock the block whose inputs are stored
   * @param copy whether the stored states must stay unchanged if the caller overwrites the states on the device
   * @param from the index of the first batch
   */
  abstract onDevice(nextBlock: number, copy: boolean, from: number): AsyncGenerator<DeviceBatch, void>;

  /** Stores batch `index` of the states from which the forward pass starts. The store now owns `bytes`. */
  storeInitial(_index: number, _bytes: Uint8Array<ArrayBuffer>): void {}

  /** Stores the changed states of batch `index`. */
  storeChanged(_index: number, _bytes: Uint8Array): void {}

  destroy(): void {
    this.scratch.destroy();
  }
}

/** A reusable buffer that is allocated on first use. */
class ScratchBuffer {
  readonly #backend: Backend;
  readonly #byteLength: number;
  #buffer?: DeviceBuffer;

  constructor(backend: Backend, batches: readonly BatchBytes[]) {
    this.#backend = backend;
    this.#byteLength = batches.reduce((largest, { length }) => Math.max(largest, length), 0);
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

/** Hidden states on the device, which are changed in place. */
export class DeviceStore extends HiddenStatesStore {
  override readonly needsBytes = false;
  readonly #buffers: DeviceBuffer[] = [];

  override storeInitial(index: number, bytes: Uint8Array<ArrayBuffer>): void {
    const buffer = this.backend.createBuffer("hidden states", bytes.byteLength);
    this.#buffers[index] = buffer;
    this.backend.write(buffer, 0, bytes);
    freeArray(bytes);
  }

  override async *onDevice(
    _nextBlock: number,
    copy: boolean,
    from: number,
  ): AsyncGenerator<DeviceBatch, void> {
    for (let index = from; index < this.batches.length; index++) {
      const stored = this.#buffers[index], { length } = this.batches[index];
      yield [index, copy ? this.scratch.copyOf(stored, length) : stored];
    }
  }

  override destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    super.destroy();
  }
}

/** Hidden states in host memory. One batch at a time is uploaded to the device. */
export class HostStore extends HiddenStatesStore {
  override readonly hostBytes: Uint8Array[] = [];

  override async *onDevice(
    _nextBlock: number,
    _copy: boolean,
    from: number,
  ): AsyncGenerator<DeviceBatch, void> {
    for (let index = from; index < this.hostBytes.length; index++) {
      yield [index, this.scratch.upload(this.hostBytes[index])];
    }
  }

  override storeInitial(index: number, bytes: Uint8Array): void {
    this.hostBytes[index] = bytes;
  }

  override storeChanged(index: number, bytes: Uint8Array): void {
    this.hostBytes[index] = bytes;
  }
}

/**
 * Hidden states in the files of a `HiddenStatesFolder`. This class only reads them, because `HiddenStates` writes them for every kind of
 * store. While the caller uses one batch, the next batch is read.
 */
export class DiskStore extends HiddenStatesStore {
  readonly #folder: HiddenStatesFolder;

  constructor(backend: Backend, batches: readonly BatchBytes[], folder: HiddenStatesFolder) {
    super(backend, batches);
    this.#folder = folder;
  }

  override async *onDevice(
    nextBlock: number,
    _copy: boolean,
    from: number,
  ): AsyncGenerator<DeviceBatch, void> {
    const { offset, length } = this.batches[this.batches.length - 1];
    const file = await this.#folder.open(nextBlock, offset + length);
    const read = (index: number) => {
      if (index === this.batches.length) return undefined;
      const { offset, length } = this.batches[index], bytes = file.read(offset, length);
      bytes.catch(() => {}); // A failed read is reported when the loop awaits it.
      return bytes;
    };
    try {
      let next = read(from);
      for (let index = from; index < this.batches.length; index++) {
        const bytes = await next!;
        next = read(index + 1);
        yield [index, this.scratch.upload(bytes)];
      }
    } finally {
      await file.close();
    }
  }
}
