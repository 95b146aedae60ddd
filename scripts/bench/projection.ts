/**
 * `--project`: hours a phase for a whole model, from rates measured on a layer this machine can hold. Work is counted by formula, and
 * the rates of the largest layer timed are taken to hold at the model's sizes. Phases are added up as if none overlapped.
 */

import type { LayerResult } from "./bench_layer.ts";
import { factorFlops, solveFlops } from "./flops.ts";
import { type ModelShapes, sum, weightCount } from "./model_shapes.ts";
import type { LayersFile } from "./results_file.ts";

/** Calibration of the paper: 128 windows of 2048 tokens. */
const CALIBRATION_TOKENS = 128 * 2048;

/** What is done to a model, in order. */
export type ModelPhase = "forward" | "statistics" | "read" | "factor" | "solve" | "write";

/** Amounts a phase: of work, flops, and bytes for `read` and `write`; of memory, bytes. */
export type Work = Readonly<Record<ModelPhase, number>>;

/** Work a second: flop/s, and bytes a second for `read` and `write`. */
export type Rates = Readonly<Record<ModelPhase, number>>;

/**
 * The work of pruning `model` through the API.
 * - forward: the linear layers of every block twice over the calibration tokens, dense to gather inputs and pruned to pass them on, 2 flops
 *   a weight and token; attention itself, some hundredths of it, is not counted.
 * - statistics: Σ x·xᵀ of each input, one triangle: tokens·n² flops.
 * - read: weights as F16, and each input's Hessian once as F32 `hessian_upper`. write: weights as F16 and mask.
 */
export function modelWork(model: ModelShapes, tokens = CALIBRATION_TOKENS): Work {
  const weights = weightCount(model);
  const perBlock = (amount: (cols: number, rows: readonly number[]) => number) =>
    model.blocks * sum(model.inputs.map(({ cols, rows }) => amount(cols, rows)));
  return {
    forward: 4 * weights * tokens,
    statistics: perBlock((cols) => tokens * cols ** 2),
    read: 2 * weights + perBlock((cols) => 4 * cols * (cols + 1) / 2),
    factor: perBlock((cols) => factorFlops(cols)),
    solve: perBlock((cols, rows) => sum(rows.map((r) => solveFlops(r, cols)))),
    write: 2 * weights + perBlock((cols, rows) => sum(rows) * Math.ceil(cols / 8)),
  };
}

/** What the activations of one batch of windows may take: `Forward`'s default. */
const ACTIVATION_BYTES = 256 * 2 ** 20;

/**
 * Bytes on the device at most, a phase.
 * - forward: one block's weights as F32, and a batch's activations; hidden states of all windows are on disk.
 * - statistics: besides those, one triangle a shared input of the block.
 * - read to write: of the input where they are largest, the triangle that is factored in place, and a layer as F32.
 */
export function modelMemory(model: ModelShapes): Work {
  const triangle = (cols: number) => 4 * cols * (cols + 1) / 2;
  const forward = 4 * weightCount({ ...model, blocks: 1 }) + ACTIVATION_BYTES;
  const layer = Math.max(
    ...model.inputs.map(({ cols, rows }) => triangle(cols) + 4 * cols * Math.max(...rows)),
  );
  return {
    forward,
    statistics: forward + sum(model.inputs.map(({ cols }) => triangle(cols))),
    read: layer,
    factor: layer,
    solve: layer,
    write: layer,
  };
}

/**
 * The rates of the largest layer in `file`.
 * @throws {Error} the run timed no layer, or not the product that calibration is made of
 */
export function ratesOf({ layers, peak }: Pick<LayersFile, "layers" | "peak">): Rates {
  const largest = [...layers].sort((a, b) => solveFlops(b.rows, b.cols) - solveFlops(a.rows, a.cols))[0];
  if (!largest || !peak) throw new Error("a projection needs a results file with a layer and the GEMM rate");
  const { rows, cols, solve } = largest;
  return {
    forward: peak.gflops * 1e9,
    statistics: peak.gflops * 1e9,
    read: 4 * (rows * cols + cols ** 2) / solve.read,
    factor: factorFlops(cols) / solve.factor,
    solve: solveFlops(rows, cols) / solve.solve,
    write: rows * (4 * cols + Math.ceil(cols / 8)) / writeSeconds(largest),
  };
}

/** From the start of the answer to its last byte: all of the request that the host's own total leaves out. */
export function writeSeconds({ wallSeconds, solve }: LayerResult): number {
  return wallSeconds - solve.total;
}

/** Hours a phase. */
export function hours(work: Work, rates: Rates): Readonly<Record<ModelPhase, number>> {
  const of = (phase: ModelPhase) => work[phase] / rates[phase] / 3600;
  return {
    forward: of("forward"),
    statistics: of("statistics"),
    read: of("read"),
    factor: of("factor"),
    solve: of("solve"),
    write: of("write"),
  };
}
