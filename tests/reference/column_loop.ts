/**
 * SparseGPT's loop over the columns of one block (arXiv 2301.00774, algorithm 1) in naive float64, one row at a time. It is the reference
 * for the kernel `prune_block`.
 */

/**
 * One block of columns. `work` (rows, size) holds the weights with the updates of earlier blocks applied, `original` (rows, size) the
 * weights before any update, and U (size, size) is the upper triangular factor.
 */
export interface ReferenceBlock {
  readonly rows: number;
  readonly size: number;
  readonly work: ArrayLike<number>;
  readonly original: ArrayLike<number>;
  readonly u: ArrayLike<number>;
}

/** The results of the column loop. */
export interface ReferenceColumns {
  /** (rows, size): the pruned and updated weights. */
  readonly q: Float64Array;
  /** (rows, size): original − Q. */
  readonly delta: Float64Array;
  /** (rows, size): 1 where an entry is pruned. */
  readonly pruned: Uint8Array;
  /** (rows): Σ err², where err is the change of an entry divided by the diagonal element of U. */
  readonly errorSums: Float64Array;
  /** (rows): Σ delta². */
  readonly deltaSums: Float64Array;
}

/** Runs the loop with a given choice: the entries that are 1 in `pruned`, (rows, size), are pruned. */
export function referenceColumnLoop(block: ReferenceBlock, pruned: Uint8Array): ReferenceColumns {
  return columnLoop(block, pruned, () => {});
}

/**
 * Runs the loop with an n:m pattern. The entries of each group of columns are chosen when the loop reaches the group. Entries that are 1
 * in `forced`, (rows, size), are always pruned. `gap` is the smallest relative distance, over all groups, between the largest pruned score
 * and the smallest kept one.
 */
export function referenceGroupLoop(
  block: ReferenceBlock,
  { keep, group, forced }: { keep: number; group: number; forced?: ArrayLike<number> },
): ReferenceColumns & { gap: number } {
  const { size, u } = block;
  const pruned = new Uint8Array(block.rows * size);
  let gap = Infinity;
  const columns = columnLoop(block, pruned, (row, j, w) => {
    if (j % group) return;
    const end = Math.min(j + group, size);
    const entries = Array.from({ length: end - j }, (_, c) => ({
      at: row * size + j + c,
      score: forced?.[row * size + j + c] ? -1 : Math.abs(w[j + c] / u[(j + c) * (size + 1)]),
    }));
    entries.sort((a, b) => a.score - b.score || a.at - b.at);
    const count = Math.max(
      end - j - Math.ceil(keep * (end - j) / group),
      entries.filter(({ score }) => score < 0).length,
    );
    for (const { at } of entries.slice(0, count)) pruned[at] = 1;
    if (count > 0 && count < entries.length && entries[count].score > entries[count - 1].score) {
      gap = Math.min(gap, 1 - entries[count - 1].score / entries[count].score);
    }
  });
  return { ...columns, gap };
}

function columnLoop(
  { rows, size, work, original, u }: ReferenceBlock,
  pruned: Uint8Array,
  choose: (row: number, j: number, w: Float64Array) => void,
): ReferenceColumns {
  const q = new Float64Array(rows * size), delta = new Float64Array(rows * size);
  const errorSums = new Float64Array(rows), deltaSums = new Float64Array(rows);
  for (let r = 0; r < rows; r++) {
    const w = Float64Array.from({ length: size }, (_, c) => work[r * size + c]);
    for (let j = 0; j < size; j++) {
      choose(r, j, w);
      const at = r * size + j;
      q[at] = pruned[at] ? 0 : w[j];
      const error = (w[j] - q[at]) / u[j * size + j];
      for (let c = j; c < size; c++) w[c] -= error * u[j * size + c];
      delta[at] = original[at] - q[at];
      errorSums[r] += error * error;
      deltaSums[r] += delta[at] * delta[at];
    }
  }
  return { q, delta, pruned, errorSums, deltaSums };
}
