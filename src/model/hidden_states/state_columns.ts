/** The columns of the states of a token between two blocks: its hidden states, and then the keys and values that blocks share. */

export interface StateColumns {
  readonly hiddenSize: number;
  /** As in `ModelSpec`. */
  readonly sharedColumns?: number;
}

export function countColumns({ hiddenSize, sharedColumns = 0 }: StateColumns): number {
  return hiddenSize + sharedColumns;
}

/** Returns `values`, (rows, from) f32, with `to` columns. Columns are removed at the end of each row, or zeros are added there. */
export function withColumns(
  values: Float32Array<ArrayBuffer>,
  from: number,
  to: number,
): Float32Array<ArrayBuffer> {
  if (from === to) return values;
  const rows = values.length / from, resized = new Float32Array(rows * to), copied = Math.min(from, to);
  for (let row = 0; row < rows; row++) {
    resized.set(values.subarray(row * from, row * from + copied), row * to);
  }
  return resized;
}
