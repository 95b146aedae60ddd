/**
 * Runs the kernel `remove_weights` on all rows of a matrix, one batch of rows at a time. Each row of a batch needs
 * memory for its vectors v_i (`device/kernels/remove_weights.ts`), and this memory limits the size of a batch.
 */

import type { Backend } from "../../../device/backend.ts";
import { MAX_REMOVAL_COLUMNS, removeWeights, WeightState } from "../../../device/kernels/remove_weights.ts";
import { ResourceSet } from "../../../device/owned.ts";
import { type IndexRange, splitRange, type TiledMatrix } from "../../../device/tiled_matrix.ts";
import { type Pattern, wordsPerRow } from "../../../tensor/pattern.ts";
import { copyRows, type Submatrix } from "../../linalg/tile_arithmetic.ts";
import { LayerSizeError } from "../solver.ts";

export interface RemovalOperands {
  readonly inverse: Submatrix; // H⁻¹, (cols, ld) f32, where ld is cols rounded up to a multiple of 4
  readonly inverseDiagonal: Float32Array; // (cols) f32: the diagonal of H⁻¹
  /** (cols) f32: the diagonal of H. Its reciprocals are lower bounds for the diagonal of each row's inverse. */
  readonly diagonal: Float32Array;
  readonly pattern: Pattern;
  /** u32 bits, ⌈cols/32⌉ words per row: the weights that are removed before all others. */
  readonly forced: Uint32Array | undefined;
}

/** A batch of rows whose weights were removed. */
export interface RemovedBatch {
  readonly rows: IndexRange;
  /** The weights after the removals. Removed weights are exactly 0. Valid until the next batch is requested. */
  readonly weights: Submatrix;
  readonly depth: number; // The number of steps in the trace of each row
  /** (rows, depth, 2) u32: 1 + column, or 0 if there was no such step, and the bits of the square root of the loss. */
  readonly trace: Uint32Array;
}

/**
 * Removes limits[r] weights from each row r of `weight`. The matrix `weight` is not changed. With equal operands, the
 * traces are equal bit for bit as far as they go, even if the limits differ.
 * @param limits (rows) u32, each at most the number of weights that the row may lose
 * @throws {OutOfDeviceMemoryError} if the device has too little free memory
 * @throws {DeviceLostError}
 */
export async function* removeInBatches(
  backend: Backend,
  weight: TiledMatrix,
  operands: RemovalOperands,
  limits: Uint32Array,
): AsyncGenerator<RemovedBatch> {
  const { rows, cols } = weight, { inverse, inverseDiagonal, pattern } = operands, { ld } = inverse;
  const depth = limits.reduce((most, limit) => Math.max(most, limit), 0);
  const batchBytes = Math.min(MAX_OBC_BATCH_BYTES, backend.maxBufferBytes);
  const size = Math.max(1, Math.min(rows, Math.floor(batchBytes / (4 * depth * ld))));
  const { keep, group } = pattern.kind === "n:m" ? pattern : { keep: 0, group: 0 };
  using scratch = new ResourceSet();
  const allocate = (label: string, elements: number) =>
    scratch.add(backend.createBuffer(label, 4 * elements));
  const buffers = {
    inverse: inverse.buffer,
    bounds: allocate("bounds of the diagonal", ld),
    limits: allocate("removals of the rows", size),
    weights: allocate("weights of a batch", size * ld),
    diagonal: allocate("diagonals of a batch", size * ld),
    states: allocate("states of a batch", size * ld),
    vectors: allocate("vectors of a batch", size * depth * ld),
    trace: allocate("trace of a batch", size * depth * 2),
  };
  backend.clear(buffers.weights);
  const bounds = new Float32Array(ld);
  operands.diagonal.forEach((value, j) => bounds[j] = 1 / value);
  backend.write(buffers.bounds, 0, new Uint8Array(bounds.buffer));
  const diagonals = new Float32Array(size * ld);
  for (let r = 0; r < size; r++) diagonals.set(inverseDiagonal, r * ld);

  for (const batch of splitRange({ start: 0, end: rows }, size)) {
    const count = batch.end - batch.start, weights = { buffer: buffers.weights, offset: 0, ld };
    copyRows(backend, weight, batch, weights);
    backend.write(buffers.limits, 0, new Uint8Array(limits.slice(batch.start, batch.end).buffer));
    backend.write(buffers.diagonal, 0, new Uint8Array(diagonals.buffer));
    backend.write(buffers.states, 0, new Uint8Array(initialStates(cols, ld, batch, operands).buffer));
    backend.clear(buffers.trace);
    for (const { start, end } of splitRange({ start: 0, end: depth }, STEPS_PER_DISPATCH)) {
      const steps = end - start;
      backend.dispatch(removeWeights, buffers, { rows: count, cols, ld, depth, start, steps, keep, group });
    }
    const trace = new Uint32Array((await backend.read(buffers.trace, 0, 8 * count * depth)).buffer);
    yield { rows: batch, weights, depth, trace };
  }
}

function initialStates(
  cols: number,
  ld: number,
  rows: IndexRange,
  { pattern, forced }: RemovalOperands,
): Uint32Array<ArrayBuffer> {
  const states = new Uint32Array((rows.end - rows.start) * ld), words = wordsPerRow(cols);
  // A short last group may have to keep all its weights.
  const rest = pattern.kind === "n:m" ? cols % pattern.group : 0;
  const isLocked = pattern.kind === "n:m" && Math.ceil(pattern.keep * rest / pattern.group) >= rest;
  for (let r = rows.start; r < rows.end; r++) {
    const row = states.subarray((r - rows.start) * ld, (r - rows.start) * ld + cols);
    row.fill(WeightState.candidate);
    if (isLocked) row.fill(WeightState.locked, cols - rest);
    if (!forced) continue;
    for (let c = 0; c < cols; c++) {
      if ((forced[r * words + (c >>> 5)] >>> (c & 31)) & 1) row[c] = WeightState.forced;
    }
  }
  return states;
}

/** The most steps of one dispatch. A dispatch is then far shorter than the time after which a driver resets the GPU. */
const STEPS_PER_DISPATCH = 32;

/**
 * The largest value of rows·cols³. It admits layers such as 768×3072 and 2048×2048. The solver multiplies about
 * 0.6·rows·cols³ pairs of numbers, so a layer of this size takes more than an hour on two CPU cores.
 */
const MAX_OBC_WORK = 2 ** 45;

/**
 * The largest size of the vectors of a batch of rows, in bytes. With this limit, a batch of a layer with 2048 columns
 * has 64 rows, which occupy half of the processors of a large GPU.
 */
export const MAX_OBC_BATCH_BYTES = 2 ** 30;

/** Checks that `obc` can solve the layer. @throws {LayerSizeError} naming the limit, and the method to use instead */
export function checkObcSize(rows: number, cols: number): void {
  if (cols > MAX_REMOVAL_COLUMNS) {
    throw new LayerSizeError(
      "obc",
      `a layer of ${rows}×${cols} has ${cols} columns, but at most ${MAX_REMOVAL_COLUMNS} are possible; ` +
        "use the method sparsegpt",
    );
  }
  const work = rows * cols ** 3;
  if (work > MAX_OBC_WORK) {
    throw new LayerSizeError(
      "obc",
      `a layer of ${rows}×${cols} has rows·cols³ = ${work.toExponential(1)}, but at most ` +
        `${MAX_OBC_WORK.toExponential(1)} is possible; use the method sparsegpt`,
    );
  }
}

/** The traces of all rows. */
export interface LossTraces {
  readonly rows: number;
  readonly length: number; // The number of removals in the trace of each row
  readonly scores: Float32Array; // (rows, length) f32: the square root of the loss of each removal
}

/**
 * Returns the number of removals of each row, (rows) u32. The function starts with `least`. It then repeatedly gives
 * one more removal to the row whose next removal has the smallest loss, until there are `total` removals in all. Among
 * rows with equal losses, the first row is chosen.
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
