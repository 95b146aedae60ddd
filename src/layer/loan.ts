/**
 * Statistics that a host stores, as one layer's solve sees them: a loan. The host's store implements it; a solve takes the
 * loan and knows nothing of the store.
 */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { Factor } from "../linalg/factor.ts";

/** What a factor depends on besides the statistics. */
export interface FactorKey {
  /** λ as asked for; retries may have raised the factor's own. */
  readonly damping: number;
  readonly blocksize: number;
}

/** Stored statistics in use by one request. */
export interface Loan {
  /** H, (n, n) f32 upper storage, undamped. Only read: a solve that consumes its statistics takes a copy. */
  readonly hessian: TiledMatrix;
  /** The factor kept for `key`, only read and valid until the loan is returned. */
  factor(key: FactorKey): Factor | undefined;
  /** Gives the store a factor made of these statistics, which it keeps or frees. */
  keep(factor: Factor, key: FactorKey): void;
  /** Ends the loan. Harmless twice. */
  return(): void;
}
