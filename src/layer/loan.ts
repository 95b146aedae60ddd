/**
 * Statistics that a host stores, as one layer's solve sees them: a loan. The host's store implements it; a solve takes the
 * loan and knows nothing of the store.
 */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { Factor } from "../linalg/factor.ts";

/** The parameters that a factor depends on, besides the statistics. */
export interface FactorKey {
  /** λ as requested. Retries may have raised the λ of the factor itself. */
  readonly damping: number;
  readonly blocksize: number;
}

/** Stored statistics in use by one request. */
export interface Loan {
  /** H, (n, n) f32, upper storage, undamped. It must not be written: a solve that overwrites its statistics uses a copy. */
  readonly hessian: TiledMatrix;
  /** Returns the stored factor for `key`, or undefined. It must not be written, and is valid until the loan is returned. */
  factor(key: FactorKey): Factor | undefined;
  /** Gives the store a factor of these statistics. The store owns it from now on, and may free it at once. */
  store(factor: Factor, key: FactorKey): void;
  /** Ends the loan. Idempotent. */
  return(): void;
}
