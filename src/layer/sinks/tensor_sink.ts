/**
 * Where the strips of one tensor go. A sink owns what it allocates until its `take` hands that over; `destroy` frees what was not
 * taken, and is always called.
 */

import type { Strip } from "./strips.ts";
import type { DeferredChecks } from "./deferred_checks.ts";
import type { Uploader } from "./upload.ts";

/** Receives one tensor, strip by strip and in order. */
export interface TensorSink {
  readonly strips: readonly Strip[];
  /** How many of the `DeferredChecks` accepting a strip opens, at most. */
  readonly slotsPerStrip: number;
  /** Queues one strip. `bytes` is its data, padded by zeros to a multiple of 4; it may be reused on return. */
  accept(strip: Strip, bytes: Uint8Array<ArrayBuffer>, uploader: Uploader, flaws: DeferredChecks): void;
  destroy(): void;
}
