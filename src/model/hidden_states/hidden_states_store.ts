/**
 * The place where hidden states are stored between two blocks: device memory, host memory, or a file on the disk. The store hands out one
 * batch of windows at a time, on the device.
 */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { freeArray } from "../../device/host_memory.ts";
import { ForwardWorkspace } from "../forward_workspace.ts";
import type { HiddenStatesFolder } from "./hidden_states_folder.ts";

/** The byte range of a batch in the hidden states of all windows. */
export interface BatchBytes {
  readonly offset: number;
  readonly length: number;
}

/** A batch on the device: its index, and its states, (rows, columns) f32. */
export type DeviceBatch = readonly [index: number, states: DeviceBuffer];

export type Place = "device" | "host" | "disk";

export class HiddenStatesStore {
  /** The states of the batches in order, if they are in host memory. */
  readonly hostBytes?: Uint8Array[];
  /** The states of the batches in order, if they are on the device. */
  readonly #buffers: DeviceBuffer[] = [];
  readonly #workspace: ForwardWorkspace;

  /** @param folder the folder of the file on the disk. This class only reads the file, because `HiddenStates` writes it for every place */
  constructor(
    readonly backend: Backend,
    readonly batches: readonly BatchBytes[],
    readonly place: Place,
    readonly folder?: HiddenStatesFolder,
  ) {
    this.#workspace = new ForwardWorkspace(backend);
    if (place === "host") this.hostBytes = [];
  }

  /** Stores batch `index` of the states from which the forward pass starts. The store now owns `bytes`. */
  storeInitial(index: number, bytes: Uint8Array<ArrayBuffer>): void {
    this.storeChanged(index, bytes);
    if (this.place !== "device") return;
    this.#buffers[index] = this.backend.createBuffer("hidden states", bytes.byteLength);
    this.backend.write(this.#buffers[index], 0, bytes);
    freeArray(bytes);
  }

  /** Stores the changed states of batch `index`. On the device, they were changed in place. */
  storeChanged(index: number, bytes: Uint8Array): void {
    if (this.hostBytes) this.hostBytes[index] = bytes;
  }

  /**
   * Puts the batches on the device, one after the other. While the caller uses a batch, the next one is read from the disk.
   * @param nextBlock the block whose inputs are stored
   * @param copy whether the stored states must stay unchanged if the caller overwrites the states on the device
   * @param from the index of the first batch
   */
  async *onDevice(nextBlock: number, copy: boolean, from: number): AsyncGenerator<DeviceBatch, void> {
    const { offset, length } = this.batches[this.batches.length - 1];
    const file = this.place === "disk" ? await this.folder!.open(nextBlock, offset + length) : undefined;
    const read = (index: number) => {
      if (!file || index === this.batches.length) return undefined;
      const { offset, length } = this.batches[index], bytes = file.read(offset, length);
      bytes.catch(() => {}); // A failed read is reported when the loop awaits it.
      return bytes;
    };
    try {
      let next = read(from);
      for (let index = from; index < this.batches.length; index++) {
        const bytes = this.hostBytes?.[index] ?? await next;
        next = read(index + 1);
        yield [index, bytes || copy ? this.#copied(index, bytes) : this.#buffers[index]];
      }
    } finally {
      await file?.close();
    }
  }

  /** Queues copying a batch to a buffer for one batch. @param bytes the states, unless they are on the device */
  #copied(index: number, bytes: Uint8Array | undefined): DeviceBuffer {
    const largest = this.batches.reduce((largest, { length }) => Math.max(largest, length), 0);
    const buffer = this.#workspace.buffer("hidden states", largest / 4);
    if (bytes) this.backend.write(buffer, 0, bytes);
    else this.backend.copy(this.#buffers[index], 0, buffer, 0, this.batches[index].length);
    return buffer;
  }

  /** Frees the device memory for one batch. The next batch allocates it again. */
  freeScratch(): void {
    this.#workspace.destroy();
  }

  destroy(): void {
    for (const buffer of this.#buffers) buffer.destroy();
    this.freeScratch();
  }
}
