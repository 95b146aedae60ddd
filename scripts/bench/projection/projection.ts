/**
 * Estimates the time of pruning a whole model from the measured rates of one layer that this machine can
 * hold. The model's work is counted by formula. The rates of the largest timed layer are assumed to hold at
 * the model's sizes. The times of the phases are added up as if no two phases overlapped.
 */

import type { LayersResults } from "../layers/layers_results.ts";
import { writeSeconds } from "../layers/tables.ts";
import { factorFlops, solveFlops } from "../measure/flops.ts";
import { sum } from "../measure/statistics.ts";
import { type ModelShapes, weightCount } from "./model_shapes.ts";

/** The number of calibration tokens in the SparseGPT paper: 128 windows of 2048 tokens. */
const CALIBRATION_TOKENS = 128 * 2048;

/** The phases of pruning a model, in order. */
export const MODEL_PHASES = ["forward", "statistics", "read", "factor", "solve", "write"] as const;

/** A phase of pruning a model. */
export type ModelPhase = (typeof MODEL_PHASES)[number];

/** A number for each phase. */
export type ByPhase = Readonly<Record<ModelPhase, number>>;

/**
 * Whether a phase moves tensors. The work of such a phase is counted in bytes, and the work of all other
 * phases in flops.
 */
export function movesBytes(phase: ModelPhase): boolean {
  return phase === "read" || phase === "write";
}

/**
 * Counts the work of pruning `model` through the API, in flops, or in bytes for `read` and `write`.
 * - forward: each transformer block runs twice over the calibration tokens. The run before pruning computes
 *   the inputs of the block's layers, and the run after pruning computes the inputs of the next block. Each
 *   weight costs 2 flops per token and run. Attention itself, a few hundredths of the work, is not counted.
 * - statistics: Σ x·xᵀ over the tokens of each input, where x has n elements. One triangle of the sum is
 *   computed, which takes tokens·n² flops.
 * - read: the host receives the weights as F16, and one F32 triangle of each input's Hessian
 *   (`hessian_upper`).
 * - write: the host sends the weights as F16, and the masks with one bit per weight.
 */
export function modelWork(model: ModelShapes, tokens = CALIBRATION_TOKENS): ByPhase {
  const weights = weightCount(model);
  const sumOverInputs = (amount: (cols: number, rows: readonly number[]) => number) =>
    model.blocks * sum(model.inputs.map(({ cols, rows }) => amount(cols, rows)));
  return {
    forward: 4 * weights * tokens,
    statistics: sumOverInputs((cols) => tokens * cols ** 2),
    read: 2 * weights + sumOverInputs(triangleBytes),
    factor: sumOverInputs(factorFlops),
    solve: sumOverInputs((cols, rows) => sum(rows.map((r) => solveFlops(r, cols)))),
    write: 2 * weights + sumOverInputs((cols, rows) => sum(rows) * Math.ceil(cols / 8)),
  };
}

/**
 * The memory for the activations of one batch of windows. It is the default of the forward pass (`src/models/forward.ts`) on a
 * GPU.
 */
const ACTIVATION_BYTES = 256 * 2 ** 20;

/**
 * The most device memory that each phase needs, in bytes.
 * - forward: the weights of one block as F32 and the activations of one batch. The hidden states of all
 *   windows are on disk.
 * - statistics: the memory of `forward`, and one triangle of a Hessian for each shared input of the block.
 * - read, factor, solve and write: one triangle, which is factored in place, and the weights of one layer as
 *   F32. The largest sum over all inputs is returned.
 */
export function modelMemory(model: ModelShapes): ByPhase {
  const forward = 4 * weightCount({ ...model, blocks: 1 }) + ACTIVATION_BYTES;
  const layer = Math.max(
    ...model.inputs.map(({ cols, rows }) => triangleBytes(cols) + 4 * cols * Math.max(...rows)),
  );
  return {
    forward,
    statistics: forward + sum(model.inputs.map(({ cols }) => triangleBytes(cols))),
    read: layer,
    factor: layer,
    solve: layer,
    write: layer,
  };
}

/** The bytes of one triangle of an (n, n) matrix in F32, with its diagonal. */
function triangleBytes(n: number): number {
  return 4 * n * (n + 1) / 2;
}

/**
 * The rates of the largest layer in `results` that was solved without a BLAS library, in flops per second, or in bytes per second for `read` and `write`. The phases
 * `forward` and `statistics` consist of matrix products, so their rate is the GEMM rate.
 * @throws {Error} if the results have no layer or no GEMM rate
 */
export function ratesOf({ layers, peak: gemmRate }: LayersResults): ByPhase {
  const own = layers.filter(({ library }) => library === undefined);
  const largest = own.toSorted((a, b) => solveFlops(b.rows, b.cols) - solveFlops(a.rows, a.cols)).at(0);
  if (!largest || !gemmRate) {
    throw new Error("a projection needs a results file with a layer and the GEMM rate");
  }
  const { rows, cols, solve } = largest;
  return {
    forward: gemmRate.gflops * 1e9,
    statistics: gemmRate.gflops * 1e9,
    read: 4 * (rows * cols + cols ** 2) / solve.read,
    factor: factorFlops(cols) / solve.factor,
    solve: solveFlops(rows, cols) / solve.solve,
    write: rows * (4 * cols + Math.ceil(cols / 8)) / writeSeconds(largest),
  };
}

/** Divides work by rates and returns the hours of each phase. */
export function hours(work: ByPhase, rates: ByPhase): ByPhase {
  const hoursOf = (phase: ModelPhase) => work[phase] / rates[phase] / 3600;
  return {
    forward: hoursOf("forward"),
    statistics: hoursOf("statistics"),
    read: hoursOf("read"),
    factor: hoursOf("factor"),
    solve: hoursOf("solve"),
    write: hoursOf("write"),
  };
}
