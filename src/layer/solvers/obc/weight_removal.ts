/**
 * Runs the kernel `remove_weights` on all rows of a matrix, one batch of rows at a time. Each row of a
 * batch needs memory for its vectors v_i (`device/kernels/remove_weights.ts`), and this memory limits the size of a batch.
 */

import type { Backend } from "../../../device/backend.ts";
import { ResourceSet } from "../../../device/owned.ts";
import type { TiledMatrix } from "../../../device/tiled_matrix.ts";
import { MAX_LOOP_ITERATIONS } from "../../../device/kernels/loop_count.ts";
import { removeWeights, stepLoops, WeightState } from "../../../device/kernels/remove_weights.ts";
import { type IndexRange, splitRange } from "../../linalg/blocking.ts";
import { gatherRows, type Submatrix } from "../../linalg/submatrix.ts";
import { wordsPerRow } from "../../../tensor/mask_bits.ts";
import { MAX_OBC_BATCH_BYTES } from "./obc_limit.ts";
import type { Pattern } from "../../../tensor/pattern.ts";

/** The operands of the removals besides the weights. */
export interface RemovalOperands {
  /** H⁻¹, (cols, ld) f32, where ld is cols rounded up to a multiple of 4. */
  readonly inverse: Submatrix;
  /** (cols) f32: the diagonal of H⁻¹. */
  readonly inverseDiagonal: Float32Array;
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
  /** The number of steps in the trace of each row. */
  readonly depth: number;
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
  const scratch = new ResourceSet();
  const allocate = (label: string, elements: number) =>
    scratch.add(backend.createBuffer(label, 4 * elements));
  try {
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
      gatherRows(backend, weight, batch, weights);
      backend.write(buffers.limits, 0, new Uint8Array(limits.slice(batch.start, batch.end).buffer));
      backend.write(buffers.diagonal, 0, new Uint8Array(diagonals.buffer));
      backend.write(buffers.states, 0, new Uint8Array(initialStates(cols, ld, batch, operands).buffer));
      backend.clear(buffers.trace);
      for (const { start, end } of splitSteps(depth, ld)) {
        const steps = end - start;
        backend.dispatch(removeWeights, buffers, { rows: count, cols, ld, depth, start, steps, keep, group });
      }
      const trace = new Uint32Array((await backend.read(buffers.trace, 0, 8 * count * depth)).buffer);
      yield { rows: batch, weights, depth, trace };
    }
  } finally {
    scratch.destroy();
  }
}

/** Returns the states of the weights of a batch before the first step, (rows, ld) u32. */
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

/**
 * Splits `depth` steps into dispatches. Each dispatch has fewer loop iterations than a software adapter allows. This
 * also keeps a dispatch far shorter than the time after which a driver resets the GPU.
 */
function* splitSteps(depth: number, ld: number): Generator<IndexRange> {
  let start = 0, iterations = 0, skipped = 0;
  for (let k = 0; k < depth; k++) {
    const step = stepLoops(ld, k);
    skipped = Math.max(skipped, step.skipped);
    // The loop over the steps adds one iteration per step, and its end adds at most 1 + `skipped`.
    if (k > start && iterations + 1 + step.iterations + 1 + skipped >= MAX_LOOP_ITERATIONS) {
      yield { start, end: k };
      start = k;
      iterations = 0;
    }
    iterations += 1 + step.iterations;
  }
  if (start < depth) yield { start, end: depth };
}
