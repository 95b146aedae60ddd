/** The interface of the receivers of a body's tensors. Each kind of tensor has its own implementation, a sink. */

import type { DeferredChecks, Uploader } from "./upload.ts";
import type { Strip } from "./strips.ts";

/**
 * Receives one tensor in strips, and builds a `Result` from it on the device. A sink owns the device memory that it allocates. Whoever
 * creates a sink must call `destroy`, even after `take`.
 */
export interface TensorSink<Result> {
  /** The strips of the tensor, in the order in which `accept` expects them. */
  readonly strips: readonly Strip[];
  /** The largest number of `DeferredChecks` that one call of `accept` adds. */
  readonly checksPerStrip: number;
  /**
   * Queues the next strip.
   * @param bytes the data of the strip, padded with zeros to a multiple of 4. The caller may overwrite it after the call
   */
  accept(strip: Strip, bytes: Uint8Array<ArrayBuffer>, uploader: Uploader, checks: DeferredChecks): void;
  /** Returns the result after the last strip. The caller now owns it. */
  take(): Result;
  /** Frees all device memory of the sink, except a result that was taken. */
  destroy(): void;
}
