/**
 * The interface of sinks, which receive the tensors of a request body. Each kind of tensor has a sink of its
 * own.
 */

import type { Strip, StripRules } from "./strips.ts";
import type { DeferredChecks, Uploader } from "./upload.ts";

/**
 * Receives one tensor in strips, which are ranges of whole rows, and builds a `Result` from it on the device.
 * A sink owns the device memory that it allocates. Whoever creates a sink must call `destroy`, even after
 * `take`.
 */
export interface TensorSink<Result> {
  /** The rules by which the tensor is split into the strips that `accept` expects, in order. */
  readonly stripRules: StripRules;
  /** The largest number of checks that one call of `accept` adds to its `DeferredChecks`. */
  readonly checksPerStrip: number;
  /**
   * Queues the upload of the next strip.
   * @param bytes the data of the strip, padded with zeros to a multiple of 4. The sink may pass them to one write of
   *   the backend, and may change them if its rules say so. They are not valid after the call
   */
  accept(strip: Strip, bytes: Uint8Array, uploader: Uploader, checks: DeferredChecks): void;
  /** Returns the result after the last strip. The caller now owns it. */
  take(): Result;
  /** Frees all device memory of the sink, except a result that was taken. */
  destroy(): void;
}
