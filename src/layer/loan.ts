/**
 * The interface between a solve and the calibration statistics that a host (a Pare server with a GPU) has
 * stored. A request that names stored statistics borrows them for as long as it needs them. The host's factor
 * store implements the interface, so the code in this folder does not depend on the store.
 */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { Factor } from "../linalg/factor.ts";

/** The parameters that a factor depends on, besides the statistics. */
export interface FactorKey {
  /**
   * The requested damping λ. The factor itself may have a larger λ, because a failed factorisation is retried
   * with more damping.
   */
  readonly damping: number;
  readonly blocksize: number;
}

/**
 * Stored statistics that one request has borrowed. The store does not free them before the loan is returned.
 */
export interface Loan {
  /**
   * The statistics H, (n, n) f32, upper storage, undamped. They must not be written, so a solve that
   * overwrites its statistics uses a copy.
   */
  readonly hessian: TiledMatrix;
  /**
   * Returns the stored factor for `key`, or undefined if there is none. The factor must not be written, and
   * is valid until the loan is returned.
   */
  factor(key: FactorKey): Factor | undefined;
  /** Gives the store a factor of these statistics. The store now owns the factor and may free it at once. */
  store(factor: Factor, key: FactorKey): void;
  /** Ends the loan. Idempotent. */
  return(): void;
}
