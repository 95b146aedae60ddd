/**
 * Statistics that several layers share, kept on the device by the digest of the body that brought them, and the
 * last factor made of each. The least recently used go when the budget is full: factors first, since they can be made again.
 * What a request is using is never freed under it.
 */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { FactorKey, Loan } from "../layer/loan.ts";
import type { Factor } from "../linalg/factor.ts";
import type { Digest } from "../protocol/digest.ts";

/** The statistics asked for are not stored: never sent, evicted or deleted. */
export class HessianNotFoundError extends Error {
  override name = "HessianNotFoundError";

  constructor(readonly digest: Digest) {
    super(`no statistics are stored as ${digest}: send them again`);
  }
}

/** The statistics are larger than the whole budget. */
export class StoreBudgetError extends Error {
  override name = "StoreBudgetError";

  /** @param limit the budget in bytes */
  constructor(byteLength: number, readonly limit: number) {
    super(`statistics of ${byteLength} bytes are over the ${limit} kept: send them with the layer instead`);
  }
}

interface Kept {
  readonly digest: Digest;
  readonly hessian: TiledMatrix;
  factor?: Factor & { readonly key: FactorKey };
  /** Requests using it now. */
  pins: number;
  /** Deleted or replaced while pinned: the last pin frees it. */
  dropped: boolean;
}

/** The store of one device. */
export class FactorStore {
  /** In order of use, the least recent first. */
  readonly #kept = new Map<Digest, Kept>();
  readonly #budget: number;

  /** @param budgetBytes of device memory for statistics and factors together */
  constructor(budgetBytes: number) {
    this.#budget = budgetBytes;
  }

  /** Device bytes held by what is listed. */
  get byteLength(): number {
    let sum = 0;
    for (const { hessian, factor } of this.#kept.values()) {
      sum += hessian.byteLength + (factor?.byteLength ?? 0);
    }
    return sum;
  }

  /** How many statistics are stored. */
  get size(): number {
    return this.#kept.size;
  }

  /** What is stored, the least recently used first. */
  get digests(): Digest[] {
    return [...this.#kept.keys()];
  }

  /** The order of the statistics stored as `digest`; undefined when there are none. It does not count as a use. */
  order(digest: Digest): number | undefined {
    return this.#kept.get(digest)?.hessian.cols;
  }

  /**
   * Stores `hessian`, the store's from here on whatever happens. Where `digest` is stored already, the new copy is freed.
   * @returns whether it was new
   * @throws {StoreBudgetError} nothing is evicted then
   */
  add(digest: Digest, hessian: TiledMatrix): boolean {
    const kept = this.#kept.get(digest);
    if (kept) {
      hessian.destroy();
      this.#touch(kept);
      return false;
    }
    if (hessian.byteLength > this.#budget) {
      hessian.destroy();
      throw new StoreBudgetError(hessian.byteLength, this.#budget);
    }
    this.#kept.set(digest, { digest, hessian, pins: 0, dropped: false });
    this.#evict(digest);
    return true;
  }

  /** Holds on to stored statistics. @throws {HessianNotFoundError} */
  borrow(digest: Digest): Loan {
    const kept = this.#kept.get(digest);
    if (!kept) throw new HessianNotFoundError(digest);
    this.#touch(kept);
    kept.pins++;
    return this.#lend(kept);
  }

  /** Forgets statistics and their factor. @throws {HessianNotFoundError} */
  delete(digest: Digest): void {
    const kept = this.#kept.get(digest);
    if (!kept) throw new HessianNotFoundError(digest);
    this.#drop(kept);
  }

  /** Forgets everything. */
  clear(): void {
    for (const kept of [...this.#kept.values()]) this.#drop(kept);
  }

  #lend(kept: Kept): Loan {
    let returned = false;
    return {
      hessian: kept.hessian,
      factor: ({ damping, blocksize }) => {
        const key = kept.factor?.key;
        return key?.damping === damping && key.blocksize === blocksize ? kept.factor : undefined;
      },
      keep: (factor, key) => {
        // Another loan may be solving with the factor kept now; and what is dropped keeps nothing.
        const inUse = kept.factor !== undefined && kept.pins > 1;
        if (kept.dropped || inUse || factor.byteLength + kept.hessian.byteLength > this.#budget) {
          factor.destroy();
          return;
        }
        kept.factor?.destroy();
        kept.factor = { ...factor, key };
        this.#evict(kept.digest);
      },
      return: () => {
        if (returned) return;
        returned = true;
        kept.pins--;
        if (kept.dropped && kept.pins === 0) free(kept);
        else this.#evict(kept.digest);
      },
    };
  }

  #touch(kept: Kept): void {
    this.#kept.delete(kept.digest);
    this.#kept.set(kept.digest, kept);
  }

  #drop(kept: Kept): void {
    this.#kept.delete(kept.digest);
    kept.dropped = true;
    if (kept.pins === 0) free(kept);
  }

  /** Frees what is over the budget and not in use, `spared` last of all. */
  #evict(spared: Digest): void {
    const idle = [...this.#kept.values()].filter(({ pins }) => pins === 0);
    const order = [
      ...idle.filter(({ digest }) => digest !== spared),
      ...idle.filter(({ digest }) => digest === spared),
    ];
    for (const kept of order) {
      if (this.byteLength <= this.#budget) return;
      kept.factor?.destroy();
      kept.factor = undefined;
    }
    for (const kept of order) {
      if (this.byteLength <= this.#budget) return;
      this.#drop(kept);
    }
  }
}

function free({ hessian, factor }: Kept): void {
  hessian.destroy();
  factor?.destroy();
}
