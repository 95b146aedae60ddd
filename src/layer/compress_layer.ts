/**
 * Solves one layer whose operands are on the device: factors the statistics if no factor is given, runs the method, and times the phases.
 * The caller reads tensors in and writes them out.
 */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { type Factor, factor as factorStatistics } from "../linalg/factor.ts";
import { solveMagnitude } from "../solvers/magnitude.ts";
import type { Layer, Solution, SolveOptions } from "../solvers/solver.ts";
import { solveSparseGpt } from "../solvers/sparsegpt.ts";
import { formatPattern } from "../sparsity/pattern.ts";

/** A layer and the statistics of its inputs: a Hessian, a factor, or neither. */
export interface LayerOperands {
  readonly layer: Layer;
  /** H, (cols, cols) f32, upper storage, undamped. `sparsegpt` overwrites it with its factor; `magnitude` only reads it. */
  readonly hessian?: TiledMatrix;
  /** A factor from an earlier layer. For `sparsegpt` only. */
  readonly factor?: Factor;
}

/** The parameters of the solve, validated by the caller. */
export interface LayerParameters extends SolveOptions {
  readonly method: "sparsegpt" | "magnitude";
  /** Columns per block, used if this call factors. */
  readonly blocksize: number;
  /** λ, used if this call factors. */
  readonly damping: number;
}

/** The report of the solve, with the names of the HTTP contract. The caller adds the phases `read` and `total`. */
export interface LayerReport {
  readonly method: LayerParameters["method"];
  readonly rows: number;
  readonly cols: number;
  readonly pattern: string;
  /** zeros / (rows·cols). */
  readonly sparsity: number;
  readonly zeros: number;
  readonly loss: number | null;
  readonly relative_error: number | null;
  /** The λ that was used, or null if nothing was factored. */
  readonly damping: number | null;
  readonly backend: Backend["kind"];
  readonly adapter: string;
  readonly seconds: { readonly factor: number; readonly solve: number; readonly refit: number };
  readonly factor_reused: boolean;
}

/** A solved layer. */
export interface CompressedLayer {
  readonly solution: Solution;
  /** The factor, if this call made one. Other layers with the same inputs can use it. The caller frees it. */
  readonly factor?: Factor;
  readonly report: LayerReport;
}

/**
 * Solves one layer. If it throws, nothing that it allocated stays allocated.
 * @param clock returns milliseconds
 * @throws {TypeError} if the method cannot use the operands
 * @throws what `factor` and the solvers throw
 */
export async function compressLayer(
  backend: Backend,
  operands: LayerOperands,
  parameters: LayerParameters,
  clock: () => number,
): Promise<CompressedLayer> {
  const { layer, hessian } = operands;
  checkStatistics(operands, parameters);
  const start = clock();
  const made = parameters.method === "sparsegpt" && hessian
    ? await factorStatistics(backend, hessian, parameters)
    : undefined;
  const factored = clock();
  try {
    const factor = made ?? operands.factor;
    const solution = factor
      ? await solveSparseGpt(backend, layer, factor, parameters)
      : await solveMagnitude(backend, layer, hessian, parameters);
    const { rows, cols } = layer.weight;
    const report: LayerReport = {
      method: parameters.method,
      rows,
      cols,
      pattern: formatPattern(parameters.pattern),
      sparsity: solution.zeros / (rows * cols),
      zeros: solution.zeros,
      loss: solution.loss,
      relative_error: solution.relativeError,
      damping: factor?.damping ?? null,
      backend: backend.kind,
      adapter: backend.adapter.name,
      seconds: { factor: (factored - start) / 1e3, solve: (clock() - factored) / 1e3, refit: 0 },
      factor_reused: operands.factor !== undefined,
    };
    return { solution, factor: made, report };
  } catch (error) {
    made?.destroy();
    throw error;
  }
}

function checkStatistics({ hessian, factor }: LayerOperands, { method }: LayerParameters): void {
  if (hessian && factor) throw new TypeError("statistics: give a hessian or its factor, not both");
  if (method === "sparsegpt" && !hessian && !factor) {
    throw new TypeError("sparsegpt: needs a hessian or its factor");
  }
  if (method === "magnitude" && factor) {
    throw new TypeError("magnitude: needs the undamped hessian, and cannot use a factor");
  }
}
