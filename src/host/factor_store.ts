/**
 * Stores statistics that several layers share on the device, each with the last factor that was made of it. The key is the digest of the
 * request body that carried the statistics. If the budget is exceeded, the least recently used entries are freed: factors first, because
 * they can be computed again. Entries that a request is using are never freed.
 */

import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import type { FactorKey, Loan } from "../layer/loan.ts";
import type { Factor } from "../linalg/factor.ts";
import type { Digest } from "../protocol/digest.ts";

/** The requested statistics are not stored. They were never sent, or they were evicted or deleted. */
export class HessianNotFoundError extends Error {
  override name = "HessianNotFoundError";

  constructor(readonly digest: Digest) {
    super(`no statistics are stored as ${digest}: send them again`);
  }
}

/** The statistics are larger than the budget of the store. */
export class StoreBudgetError extends Error {
  override name = "StoreBudgetError";

  /** @param limit the budget in bytes */
  constructor(byteLength: number, readonly limit: number) {
    super(
      `statistics of ${byteLength} bytes exceed the store's limit of ${limit} bytes: send them with the layer instead`,
    );
  }
}

interface Entry {
  readonly digest: Digest;
  readonly hessian: TiledMatrix;
  factor?: Factor & { readonly key: FactorKey };
  /** The number of loans that use the entry. */
  loans: number;
  /** Whether the entry was deleted while in use. The last loan then frees it. */
  deleted: boolean;
}

/** The store of one device. */
export class FactorStore {
  /** The entries in order of their last use, the least recently used first. */
  readonly #entries = new Map<Digest, Entry>();
  readonly #budget: number;

  /** @param budgetBytes of device memory for statistics and factors together */
  constructor(budgetBytes: number) {
    this.#budget = budgetBytes;
  }

  /** The device memory of all entries, in bytes. */
  get byteLength(): number {
    let sum = 0;
    for (const { hessian, factor } of this.#entries.values()) {
      sum += hessian.byteLength + (factor?.byteLength ?? 0);
    }
    return sum;
  }

  /** The number of stored statistics. */
  get size(): number {
    return this.#entries.size;
  }

  /** The digests of the stored statistics, the least recently used first. */
  get digests(): Digest[] {
    return [...this.#entries.keys()];
  }

  /** Returns the order of the statistics stored as `digest`, or undefined. This does not count as a use. */
  order(digest: Digest): number | undefined {
    return this.#entries.get(digest)?.hessian.cols;
  }

  /**
   * Stores `hessian`. The store owns it from now on, even if this method throws. If `digest` is stored already, `hessian` is freed.
   * @returns whether `digest` was new
   * @throws {StoreBudgetError} if it exceeds the budget; nothing is evicted then
   */
  add(digest: Digest, hessian: TiledMatrix): boolean {
    const entry = this.#entries.get(digest);
    if (entry) {
      hessian.destroy();
      this.#touch(entry);
      return false;
    }
    if (hessian.byteLength > this.#budget) {
      hessian.destroy();
      throw new StoreBudgetError(hessian.byteLength, this.#budget);
    }
    this.#entries.set(digest, { digest, hessian, loans: 0, deleted: false });
    this.#evict(digest);
    return true;
  }

  /** Lends stored statistics. They are not freed before the loan is returned. @throws {HessianNotFoundError} */
  borrow(digest: Digest): Loan {
    const entry = this.#entries.get(digest);
    if (!entry) throw new HessianNotFoundError(digest);
    this.#touch(entry);
    entry.loans++;
    return this.#lend(entry);
  }

  /** Deletes statistics and their factor. @throws {HessianNotFoundError} */
  delete(digest: Digest): void {
    const entry = this.#entries.get(digest);
    if (!entry) throw new HessianNotFoundError(digest);
    this.#drop(entry);
  }

  /** Deletes all entries. */
  clear(): void {
    for (const entry of [...this.#entries.values()]) this.#drop(entry);
  }

  #lend(entry: Entry): Loan {
    let returned = false;
    return {
      hessian: entry.hessian,
      factor: ({ damping, blocksize }) => {
        const key = entry.factor?.key;
        return key?.damping === damping && key.blocksize === blocksize ? entry.factor : undefined;
      },
      store: (factor, key) => {
        // Another loan may be using the current factor, and a deleted entry stores no new one.
        const inUse = entry.factor !== undefined && entry.loans > 1;
        if (entry.deleted || inUse || factor.byteLength + entry.hessian.byteLength > this.#budget) {
          factor.destroy();
          return;
        }
        entry.factor?.destroy();
        entry.factor = { ...factor, key };
        this.#evict(entry.digest);
      },
      return: () => {
        if (returned) return;
        returned = true;
        entry.loans--;
        if (entry.deleted && entry.loans === 0) free(entry);
        else this.#evict(entry.digest);
      },
    };
  }

  #touch(entry: Entry): void {
    this.#entries.delete(entry.digest);
    this.#entries.set(entry.digest, entry);
  }

  #drop(entry: Entry): void {
    this.#entries.delete(entry.digest);
    entry.deleted = true;
    if (entry.loans === 0) free(entry);
  }

  /** Frees unused entries until the budget is met, `spared` last. */
  #evict(spared: Digest): void {
    const idle = [...this.#entries.values()].filter(({ loans }) => loans === 0);
    const order = [
      ...idle.filter(({ digest }) => digest !== spared),
      ...idle.filter(({ digest }) => digest === spared),
    ];
    for (const entry of order) {
      if (this.byteLength <= this.#budget) return;
      entry.factor?.destroy();
      entry.factor = undefined;
    }
    for (const entry of order) {
      if (this.byteLength <= this.#budget) return;
      this.#drop(entry);
    }
  }
}

function free({ hessian, factor }: Entry): void {
  hessian.destroy();
  factor?.destroy();
}
