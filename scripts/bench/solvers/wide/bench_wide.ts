/**
 * Measures the errors and the seconds of three pruning methods on one wide synthetic layer. The methods are
 * SparseGPT, SparseGPT with a refit of the kept weights, and ALPS. The bench also measures which kernels ALPS
 * spends its time in.
 */

import type { Backend } from "../../../../src/backend/backend.ts";
import { TiledMatrix } from "../../../../src/backend/tiled_matrix.ts";
import { compressLayer } from "../../../../src/layer/compress_layer.ts";
import type { LayerParameters } from "../../../../src/layer/operands.ts";
import { copyUpper } from "../../../../src/linalg/submatrix.ts";
import { gemmNN } from "../../../../src/kernels/gemm.ts";
import { gemm } from "../../../../src/linalg/gemm.ts";
import { copyMatrix } from "../../../../src/linalg/tile_arithmetic.ts";
import { DEFAULT_BLOCKSIZE, DEFAULT_DAMPING } from "../../../../src/protocol/limits.ts";
import { TimedBackend, TRANSFERS } from "../../layers/timed_backend.ts";
import { median, sum } from "../../measure/statistics.ts";
import { alpsParts, partFlops, type SolveParts, sparseGptParts } from "./solve_cost.ts";
import { makeWideLayer, type WideLayer } from "./wide_layer.ts";

/** A method with its parameters, and the parts of its work that can be timed by themselves. */
interface WideMethod {
  readonly title: string;
  readonly parameters: Pick<LayerParameters, "method" | "refitSteps" | "effort">;
  readonly parts: SolveParts;
}

const REFIT_STEPS = 10;

const METHODS: readonly WideMethod[] = [
  { title: "SparseGPT", parameters: { method: "sparsegpt" }, parts: sparseGptParts(0) },
  {
    title: "SparseGPT + refit",
    parameters: { method: "sparsegpt", refitSteps: REFIT_STEPS },
    parts: sparseGptParts(REFIT_STEPS),
  },
  ...(["fast", "default", "best"] as const).map((effort): WideMethod => ({
    title: `ALPS ${effort}`,
    parameters: { method: "alps", refitSteps: REFIT_STEPS, effort },
    parts: alpsParts(effort, REFIT_STEPS),
  })),
];

/** The figures of one method. */
export interface WideResult extends SolveParts {
  readonly title: string;
  /**
   * tr(ΔHΔᵀ)/tr(WHWᵀ), where W is the weight, Δ is its change, and H = Σ x·xᵀ over the inputs x of the layer.
   */
  readonly relativeError: number;
  /** The seconds of the factors, the solve and the refit together, as the median over the rounds. */
  readonly seconds: number;
  /**
   * The measured seconds divided by the estimated seconds, as the median over the rounds. The estimate is the
   * number of operations of the method's parts, divided by the rate of a matrix product. This rate is
   * measured before and after the solve.
   */
  readonly overParts: number;
}

/** The figures of one layer. */
export interface WideLayerResult {
  /** The rows and the columns of the layer. */
  readonly n: number;
  /** The number of timed rounds. Each round solves the layer once by every method. */
  readonly rounds: number;
  /**
   * The rate of a product of two (n, n) matrices in Gflop/s, as the median over the measurements around each
   * solve.
   */
  readonly gflops: number;
  readonly methods: readonly WideResult[];
  /**
   * The share of each kernel in the time of `ALPS default`. The shares are measured in a separate solve,
   * which waits for the device whenever another kernel follows.
   */
  readonly kernelShares: Readonly<Record<string, number>>;
}

/**
 * Measures one layer with `n` rows and columns. Each of the `rounds` timed rounds solves the layer once by
 * every method. Solves that are not timed come first. The result so far is passed to `save` after each round,
 * so an interrupted run keeps its finished rounds.
 */
export async function benchWide(
  backend: Backend,
  n: number,
  rounds: number,
  { log, save }: { log(text: string): void; save(result: WideLayerResult): Promise<void> },
): Promise<WideLayerResult> {
  const timed = new TimedBackend(backend, (kernel) => kernel);
  const original = await makeWideLayer(backend, n);
  const runs = METHODS.map(() => ({ seconds: [] as number[], ratios: [] as number[], relativeError: 0 }));
  const rates: number[] = [];
  const energy = await weightForm(backend, original);
  const shares = await kernelShares(timed, n);
  const resultOf = (finishedRounds: number): WideLayerResult => ({
    n,
    rounds: finishedRounds,
    gflops: median(rates) / 1e9,
    methods: METHODS.map(({ title, parts }, i) => ({
      title,
      ...parts,
      relativeError: runs[i].relativeError,
      seconds: median(runs[i].seconds),
      overParts: median(runs[i].ratios),
    })),
    kernelShares: shares,
  });
  for (let round = 0; round < rounds; round++) {
    for (const [i, { title, parameters, parts }] of METHODS.entries()) {
      const before = await productRate(backend, original);
      const { seconds, loss } = await solve(backend, original, parameters, { relativeError: false });
      runs[i].relativeError = loss / energy;
      const rate = (before + await productRate(backend, original)) / 2;
      rates.push(rate);
      runs[i].seconds.push(seconds);
      runs[i].ratios.push(seconds / (partFlops(parts, n) / rate));
      log(`${n}² ${title}: ${seconds.toFixed(2)} s, ${runs[i].ratios.at(-1)!.toFixed(2)} × its parts`);
    }
    await save(resultOf(round + 1));
  }
  for (const matrix of [original.weight, original.hessian]) matrix.destroy();
  return resultOf(rounds);
}

/** Prunes a copy of the layer to 50 %. Returns the seconds of the solver, the loss and the relative error. */
async function solve(
  backend: Backend,
  { weight, hessian }: WideLayer,
  parameters: WideMethod["parameters"],
  { relativeError }: Pick<LayerParameters, "relativeError">,
): Promise<{ seconds: number; loss: number; relativeError: number | null }> {
  const { rows, cols } = weight;
  const copy = new TiledMatrix(backend, { label: "weight", rows, cols, edge: weight.edge });
  copyMatrix(backend, weight, copy);
  const statistics = copyUpper(backend, hessian, hessian.edge);
  await backend.finish();
  const { solution, factor, report } = await compressLayer(
    backend,
    { layer: { weight: copy }, hessian: statistics },
    {
      ...parameters,
      pattern: { kind: "unstructured" },
      sparsity: 0.5,
      blocksize: DEFAULT_BLOCKSIZE,
      damping: DEFAULT_DAMPING,
      relativeError,
    },
    () => performance.now(),
  );
  await backend.finish();
  for (const resource of [solution, factor, copy]) resource?.destroy();
  const { factor: factorSeconds, solve: solveSeconds, refit } = report.seconds;
  return {
    seconds: factorSeconds + solveSeconds + refit,
    loss: report.loss!,
    relativeError: report.relative_error,
  };
}

/**
 * Returns tr(W·H·Wᵀ). The relative error is the loss divided by this number, so this number is the loss of
 * one solve divided by its relative error.
 */
async function weightForm(backend: Backend, layer: WideLayer): Promise<number> {
  const { loss, relativeError } = await solve(backend, layer, { method: "sparsegpt" }, {
    relativeError: true,
  });
  return loss / relativeError!;
}

/** Measures the rate of a product of the layer's weight with itself, in operations per second. */
async function productRate(backend: Backend, { weight }: WideLayer): Promise<number> {
  const { buffer, rows: n, ld } = weight.tile(0, 0);
  const target = backend.createBuffer("product", buffer.byteLength);
  const a = { buffer, offset: 0, ld };
  const started = performance.now();
  gemm(backend, gemmNN, a, a, { buffer: target, offset: 0, ld }, { m: n, n, k: n });
  await backend.finish();
  const seconds = (performance.now() - started) / 1000;
  target.destroy();
  return 2 * n ** 3 / seconds;
}

/** Measures which share of the time of `ALPS default` each kernel takes. */
async function kernelShares(timed: TimedBackend, n: number): Promise<Record<string, number>> {
  const layer = await makeWideLayer(timed, n);
  await timed.finish();
  timed.takeSeconds(); // discards the seconds of making the layer
  const { parameters } = METHODS.find(({ title }) => title === "ALPS default")!;
  await solve(timed, layer, parameters, { relativeError: false });
  const seconds = timed.takeSeconds();
  for (const matrix of [layer.weight, layer.hessian]) matrix.destroy();
  await timed.finish();
  const total = sum([...seconds.values()]);
  const shares = [...seconds].map(([kernel, value]) =>
    [kernel === TRANSFERS ? "transfers" : kernel, value / total] as const
  );
  return Object.fromEntries(shares.sort(([, a], [, b]) => b - a));
}
