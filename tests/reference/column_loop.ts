/** The column loop of one block in naive float64: the published form, a row at a time. */

/** One block: `work` (rows, size) as updated so far, `original` as it came, U (size, size) upper triangular. */
export interface ReferenceBlock {
  readonly rows: number;
  readonly size: number;
  readonly work: ArrayLike<number>;
  readonly original: ArrayLike<number>;
  readonly u: ArrayLike<number>;
}

/** What the loop leaves. */
export interface ReferenceColumns {
  /** (rows, size) */
  readonly q: Float64Array;
  /** (rows, size): original − Q. */
  readonly delta: Float64Array;
  /** (rows, size): 1 where pruned. */
  readonly pruned: Uint8Array;
  /** (rows): Σ err². */
  readonly errorSums: Float64Array;
  /** (rows): Σ Δ². */
  readonly deltaSums: Float64Array;
}

/** Prunes the entries of `pruned` that are 1. */
export function referenceColumnLoop(block: ReferenceBlock, pruned: Uint8Array): ReferenceColumns {
  return columnLoop(block, pruned, () => {});
}

/** n:m: each group of columns chooses when the loop reaches it. `gap` is the least relative distance between a score pruned and one kept. */
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
