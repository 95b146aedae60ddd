/**
 * The receiver of one tensor's strips. A sink owns the device memory that it allocates. Each implementation has a method `take` that
 * returns the result and makes the caller its owner. `destroy` must always be called; it frees everything that was not taken.
 */

import type { Strip } from "./strips.ts";
import type { DeferredChecks } from "./deferred_checks.ts";
import type { Uploader } from "./upload.ts";

/** Receives one tensor, strip by strip and in order. */
export interface TensorSink {
  readonly strips: readonly Strip[];
  /** The largest number of `DeferredChecks` that accepting one strip adds. */
  readonly checksPerStrip: number;
  /** Queues one strip. `bytes` is its data, padded with zeros to a multiple of 4. The caller may reuse it afterwards. */
  accept(strip: Strip, bytes: Uint8Array<ArrayBuffer>, uploader: Uploader, checks: DeferredChecks): void;
  destroy(): void;
}
