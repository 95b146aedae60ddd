/**
 * The interface to the place where hidden states are stored between two transformer blocks. There are three
 * places: device memory (`DeviceStore`), host memory, which is the CPU's (`HostStore`), and a file
 * (`DiskStore`). Each store puts one batch of windows (sequences of token ids) at a time on the device.
 */

import type { DeviceBuffer } from "../../backend/backend.ts";

/** The byte range of a batch in the hidden states of all windows. */
export interface BatchBytes {
  readonly offset: number;
  readonly length: number;
}

/** A batch on the device: its index, and its hidden states, (rows, hiddenSize) f32. */
export type DeviceBatch = readonly [index: number, states: DeviceBuffer];

/** Stores the hidden states of all batches. */
export interface HiddenStatesStore {
  /** Whether `storeChanged` needs the bytes of a changed batch. Otherwise batches are changed in place. */
  readonly needsBytes: boolean;
  /** Stores batch `index` of the states from which the forward pass starts. */
  storeInitial(index: number, bytes: Uint8Array): void;
  /**
   * Puts the batches on the device, one after the other.
   * @param nextBlock the block whose inputs are stored
   * @param copy whether the stored states must stay unchanged if the caller overwrites the states on the
   * device
   */
  onDevice(nextBlock: number, copy: boolean): AsyncGenerator<DeviceBatch, void, undefined>;
  /** Stores the changed states of batch `index`. */
  storeChanged(index: number, bytes: Uint8Array): void;
  /** Frees the device memory. */
  destroy(): void;
}
