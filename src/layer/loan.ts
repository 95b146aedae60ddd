/** Calibration statistics that several layers share, and that one layer at a time borrows. */

import type { Backend } from "../device/backend.ts";
import type { TiledMatrix } from "../device/tiled_matrix.ts";
import type { Factor } from "./linalg/factor.ts";

/** The parameters that a factor depends on, besides the statistics. */
export interface FactorKey {
  /** The requested damping λ. The factor may have a larger λ, if the factorisation failed with the requested one. */
  readonly damping: number;
  readonly blocksize: number;
}

/** Stored statistics that one request has borrowed. The store does not free them before the loan is returned. */
export interface Loan {
  /** H, (n, n) f32, upper storage, undamped. Read only, so a solve that overwrites its statistics uses a copy. */
  readonly hessian: TiledMatrix;
  /** The validation statistics, in the form of `hessian`, if the caller has stored some. Read only. */
  readonly validation?: TiledMatrix;
  /** Returns the stored factor for `key`, if any. It is read only, and valid until the loan is returned. */
  factor(key: FactorKey): Factor | undefined;
  /** Gives the store a factor of these statistics. The store now owns the factor and may free it at once. */
  store(factor: Factor, key: FactorKey): void;
  /** Ends the loan. Idempotent. */
  return(): void;
}

/** The default limit of stored statistics and factors. The CPU backend has one memory of at most 4 GiB for all data. */
export const DEFAULT_STORE_BYTES: Readonly<Record<Backend["kind"], number>> = {
  cpu: 2 ** 30,
  webgpu: 4 * 2 ** 30,
};

/** Statistics that are lent to one layer after the other, with the last factor that a layer made of them. */
export class LentStatistics implements Loan {
  #factor: { readonly factor: Factor; readonly key: FactorKey } | undefined;

  /**
   * @param limit the largest sum of bytes of the statistics and a factor. A larger factor is not kept
   * @param validation the validation statistics, which the object frees with the statistics
   */
  constructor(readonly hessian: TiledMatrix, readonly limit: number, readonly validation?: TiledMatrix) {}

  factor({ damping, blocksize }: FactorKey): Factor | undefined {
    const key = this.#factor?.key;
    return key?.damping === damping && key.blocksize === blocksize ? this.#factor?.factor : undefined;
  }

  store(factor: Factor, key: FactorKey): void {
    if (factor.byteLength + this.statisticsBytes > this.limit) return factor.destroy();
    this.freeFactor();
    this.#factor = { factor, key };
  }

  /** The device memory of the statistics and the validation statistics, in bytes. */
  get statisticsBytes(): number {
    return this.hessian.byteLength + (this.validation?.byteLength ?? 0);
  }

  /** The device memory of the factor in bytes, or 0 if there is none. */
  get factorBytes(): number {
    return this.#factor?.factor.byteLength ?? 0;
  }

  /** Frees the factor, if there is one. */
  freeFactor(): void {
    this.#factor?.factor.destroy();
    this.#factor = undefined;
  }

  return(): void {}

  /** Frees the statistics and the factor. Idempotent. */
  destroy(): void {
    this.hessian.destroy();
    this.validation?.destroy();
    this.freeFactor();
  }
}
