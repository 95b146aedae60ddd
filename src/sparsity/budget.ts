/** How many entries each block of an unstructured layer prunes, so that the whole layer prunes an exact number. */

/**
 * Block by block, the count that brings the total to round(s·entries so far): the rounding remainder of a block is carried to the
 * next. Forced entries are always counted; where they exceed a block's share, later blocks pay back as far as they can.
 */
export class PruningBudget {
  readonly #sparsity: number;
  #seen = 0;
  #pruned = 0;

  /** @param sparsity 0 ≤ s < 1 */
  constructor(sparsity: number) {
    this.#sparsity = sparsity;
  }

  /** Entries to prune of the next `entries`, of which `forced` must be. */
  take(entries: number, forced: number): number {
    this.#seen += entries;
    const due = Math.round(this.#sparsity * this.#seen) - this.#pruned;
    const count = Math.min(entries, Math.max(forced, due));
    this.#pruned += count;
    return count;
  }

  /** Entries pruned so far. */
  get pruned(): number {
    return this.#pruned;
  }
}
