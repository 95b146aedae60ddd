/**
 * Distributes the number of pruned weights over the blocks of a layer. A layer with unstructured sparsity s is pruned one block of columns
 * at a time, and the whole layer must prune exactly round(s·entries) weights.
 */

/**
 * Counts the entries of a layer block by block, and computes how many entries to prune in each block. After every block, the total number
 * to prune is round(s · entries so far), so the rounding error of one block is corrected in the next. Some entries are forced, which means
 * that they must be pruned in any case. If a block has more forced entries than its share, later blocks prune fewer entries to make up for
 * it, as far as possible.
 */
export class PruningBudget {
  readonly #sparsity: number;
  #seen = 0;
  #pruned = 0;

  /** @param sparsity the fraction of entries to prune, 0 ≤ sparsity < 1 */
  constructor(sparsity: number) {
    this.#sparsity = sparsity;
  }

  /**
   * Adds the next block to the count.
   * @param entries the number of entries in the block
   * @param forced the number of those entries that must be pruned
   * @returns the number of entries to prune in the block, including the forced ones
   */
  take(entries: number, forced: number): number {
    this.#seen += entries;
    const due = Math.round(this.#sparsity * this.#seen) - this.#pruned;
    const count = Math.min(entries, Math.max(forced, due));
    this.#pruned += count;
    return count;
  }

  /** The number of entries to prune in all blocks so far. */
  get pruned(): number {
    return this.#pruned;
  }
}
