/**
 * The places where hidden states are stored between two blocks. There are three: `DeviceStates`, `HostStates` and `DiskStates`. All of
 * them bring one batch at a time onto the device.
 */

import type { DeviceBuffer } from "../../backend/backend.ts";

/** The position of a batch among the states of all windows, in bytes. */
export interface BatchBytes {
  readonly offset: number;
  readonly length: number;
}

/** Stores the hidden states of all batches. */
export interface StatesStore {
  /** Whether `putBack` needs the bytes of a changed batch. If not, the batch was changed in place. */
  readonly needsBytes: boolean;
  /** Stores the initial states of batch `index`. */
  put(index: number, bytes: Uint8Array): void;
  /**
   * Brings every batch onto the device in turn. The next batch is brought while the caller works on the current one.
   * @param block the block that comes next
   * @param copy whether the caller may overwrite the states without changing the stored ones
   */
  bring(block: number, copy: boolean): AsyncGenerator<[index: number, states: DeviceBuffer], void, undefined>;
  /** Stores the changed states of batch `index`. */
  putBack(index: number, bytes: Uint8Array): void;
  /** Frees the device memory. */
  destroy(): void;
}
