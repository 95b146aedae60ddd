/**
 * Distributes the weights to remove over the rows of a layer. This is the global step of ExactOBS (Frantar &
 * Alistarh, arXiv 2208.11580, algorithm 2). Each row has a trace, which lists the losses of its removals in
 * the order of the removals. A row that is assigned k removals performs the first k of its trace.
 */

/** The traces of all rows. */
export interface LossTraces {
  readonly rows: number;
  /** The number of removals in the trace of each row. */
  readonly length: number;
  /** (rows, length) f32: the square root of the loss of each removal. */
  readonly scores: Float32Array;
}

/**
 * Returns the number of removals of each row, (rows) u32. The function starts with `least`. It then repeatedly gives
 * one more removal to the row whose next removal has the smallest loss, until there are `total` removals in
 * all. Among rows with equal losses, the first row is chosen.
 * @param least (rows) u32: the removals that each row needs in any case
 * @param total at least the sum of `least`, and at most rows·length
 */
export function shareRemovals(
  traces: LossTraces,
  least: Uint32Array,
  total: number,
): Uint32Array<ArrayBuffer> {
  const counts = Uint32Array.from(least);
  const nextScore = (row: number) => traces.scores[row * traces.length + counts[row]];
  const isBefore = (a: number, b: number) => {
    const left = nextScore(a), right = nextScore(b);
    return left < right || (left === right && a < b);
  };
  const heap: number[] = [];
  for (let row = 0; row < traces.rows; row++) {
    if (counts[row] < traces.length) heap.push(row);
  }
  for (let i = (heap.length >> 1) - 1; i >= 0; i--) siftDown(heap, i, isBefore);
  let given = counts.reduce((sum, count) => sum + count, 0);
  for (; given < total; given++) {
    const row = heap[0];
    if (++counts[row] === traces.length) {
      const last = heap.pop()!;
      if (heap.length === 0) continue;
      heap[0] = last;
    }
    siftDown(heap, 0, isBefore);
  }
  return counts;
}

/** Moves the element at `index` of a binary heap down until no child comes before it. */
function siftDown(heap: number[], index: number, isBefore: (a: number, b: number) => boolean): void {
  const moved = heap[index];
  let at = index;
  while (true) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && isBefore(heap[child + 1], heap[child])) child++;
    if (!isBefore(heap[child], moved)) break;
    heap[at] = heap[child];
    at = child;
  }
  heap[at] = moved;
}
