/**
 * Stores calibration statistics (Hessians) on the device, so that several layers can share them. Each entry has one
 * Hessian, the validation statistics that were sent with it, if any, and at most one Cholesky factor of the
 * Hessian. The key of an entry is the digest of the request body that carried the Hessian.
 *
 * The entries have a common budget of device memory. If they exceed it, the store frees memory, least recently used
 * first. It frees factors before whole entries, because factors can be computed again. A request uses an entry through
 * a loan, and an entry with a loan is never freed.
 */

import { LentStatistics, type Loan } from "../layer/loan.ts";
import { type Digest, formatDigest, hashedStream } from "../protocol/digest.ts";
import { Refusal } from "../protocol/refusal.ts";
import { createHash } from "node:crypto";
import type { Backend } from "../device/backend.ts";
import { type ReadOptions, readStatistics, type ReceivedStatistics } from "../layer/read_layer.ts";

/** Returns the refusal of statistics that are not stored, because they were never sent, or were evicted or deleted. */
export function hessianNotFound(digest: Digest): Refusal {
  const detail = `no statistics are stored as ${digest}: send them again`;
  return new Refusal("hessian_not_found", detail, { members: { digest } });
}

interface Entry {
  readonly digest: Digest;
  readonly lent: LentStatistics;
  loans: number;
  /** Whether the entry was deleted. If it was in use, the return of the last loan frees it. */
  isDeleted: boolean;
}

export class FactorStore {
  /** The entries in the order of their last use, least recent first. */
  readonly #entries = new Map<Digest, Entry>();
  readonly #budget: number;

  /** @param budgetBytes the device memory for statistics and factors together */
  constructor(budgetBytes: number) {
    this.#budget = budgetBytes;
  }

  get byteLength(): number {
    let sum = 0;
    for (const { lent } of this.#entries.values()) sum += lent.statisticsBytes + lent.factorBytes;
    return sum;
  }

  get size(): number {
    return this.#entries.size;
  }

  /** The digests of the stored statistics in the order of their last use, least recent first. */
  get digests(): Digest[] {
    return [...this.#entries.keys()];
  }

  /** Returns the order of the Hessian stored as `digest`, or undefined if there is none. Does not count as a use. */
  order(digest: Digest): number | undefined {
    return this.#entries.get(digest)?.lent.hessian.cols;
  }

  /**
   * Stores statistics. The store now owns them, even if this method throws. If `digest` is stored already, frees them.
   * @returns whether `digest` was new
   * @throws {Refusal} `too_large` if the statistics alone exceed the budget. Nothing is evicted in this case
   */
  add(digest: Digest, { hessian, validation }: ReceivedStatistics): boolean {
    const entry = this.#entries.get(digest), lent = new LentStatistics(hessian, this.#budget, validation);
    if (entry) {
      lent.destroy();
      this.#markUsed(entry);
      return false;
    }
    const { statisticsBytes } = lent;
    if (statisticsBytes > this.#budget) {
      lent.destroy();
      throw new Refusal(
        "too_large",
        `statistics of ${statisticsBytes} bytes exceed the store's limit of ${this.#budget} bytes: send them with the layer instead`,
        { members: { limit: this.#budget } },
      );
    }
    this.#entries.set(digest, { digest, lent, loans: 0, isDeleted: false });
    this.#evict(digest);
    return true;
  }

  /** Lends statistics to a request. They are not freed before the loan is returned. @throws {Refusal} `hessian_not_found` */
  borrow(digest: Digest): Loan {
    const entry = this.#entries.get(digest);
    if (!entry) throw hessianNotFound(digest);
    this.#markUsed(entry);
    entry.loans++;
    return this.#createLoan(entry);
  }

  /** Deletes statistics and their factor. @throws {Refusal} `hessian_not_found` */
  delete(digest: Digest): void {
    const entry = this.#entries.get(digest);
    if (!entry) throw hessianNotFound(digest);
    this.#remove(entry);
  }

  clear(): void {
    for (const entry of [...this.#entries.values()]) this.#remove(entry);
  }

  #createLoan(entry: Entry): Loan {
    const { lent } = entry;
    let isReturned = false;
    return {
      hessian: lent.hessian,
      validation: lent.validation,
      factor: (key) => lent.factor(key),
      store: (factor, key) => {
        // The current factor cannot be replaced while another loan may be using it.
        if (entry.isDeleted || lent.factorBytes > 0 && entry.loans > 1) return factor.destroy();
        lent.store(factor, key);
        this.#evict(entry.digest);
      },
      return: () => {
        if (isReturned) return;
        isReturned = true;
        entry.loans--;
        if (entry.isDeleted && entry.loans === 0) lent.destroy();
        else this.#evict(entry.digest);
      },
    };
  }

  /** Moves an entry to the end of the order of use. */
  #markUsed(entry: Entry): void {
    this.#entries.delete(entry.digest);
    this.#entries.set(entry.digest, entry);
  }

  #remove(entry: Entry): void {
    this.#entries.delete(entry.digest);
    entry.isDeleted = true;
    if (entry.loans === 0) entry.lent.destroy();
  }

  /** Frees memory of entries without a loan until the budget is met. The entry `protectedDigest` comes last. */
  #evict(protectedDigest: Digest): void {
    const unused = [...this.#entries.values()].filter(({ loans }) => loans === 0);
    const order = [
      ...unused.filter(({ digest }) => digest !== protectedDigest),
      ...unused.filter(({ digest }) => digest === protectedDigest),
    ];
    for (const entry of order) {
      if (this.byteLength <= this.#budget) return;
      entry.lent.freeFactor();
    }
    for (const entry of order) {
      if (this.byteLength <= this.#budget) return;
      this.#remove(entry);
    }
  }
}

/**
 * Reads a body into `store` under `digest`. If it throws, nothing is stored.
 * @returns the order of the statistics, and whether they are new in the store
 * @throws {Refusal} `digest_mismatch` or `too_large`, and what `readStatistics` throws
 */
export async function storeHessian(
  backend: Backend,
  store: FactorStore,
  digest: Digest,
  source: AsyncIterable<Uint8Array>,
  options: ReadOptions,
): Promise<{ order: number; added: boolean }> {
  const hash = createHash("sha256");
  const statistics = await readStatistics(backend, hashedStream(source, hash), options);
  const got = formatDigest(hash.digest());
  if (got !== digest) {
    statistics.hessian.destroy();
    statistics.validation?.destroy();
    throw new Refusal("digest_mismatch", `the body has the digest ${got}, not ${digest}`, {
      members: { expected: digest, got },
    });
  }
  return { order: statistics.hessian.cols, added: store.add(digest, statistics) };
}
