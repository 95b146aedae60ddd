/**
 * One layer from device operands to a solution and its report: factors the statistics where no factor is given, runs the method,
 * and times the phases. Reading tensors in and writing them out is the caller's.
 */

import type { Backend } from "../backend/backend.ts";
import type { TiledMatrix } from "../backend/tiled_matrix.ts";
import { type Factor, factor as factorStatistics } from "../linalg/factor.ts";
import { solveMagnitude } from "../solvers/magnitude.ts";
import type { Layer, Solution, SolveOptions } from "../solvers/solver.ts";
import { solveSparseGpt } from "../solvers/sparsegpt.ts";
import { formatPattern } from "../sparsity/pattern.ts";

/** A layer and what is known of its inputs: at most one of the two. */
export interface LayerOperands {
  readonly layer: Layer;
  /** H, (cols, cols) f32 upper storage, undamped. `sparsegpt` consumes it; `magnitude` does not. */
  readonly hessian?: TiledMatrix;
  /** A factor made before; `sparsegpt` only. */
  readonly factor?: Factor;
}

/** How to compress. Validated by the caller. */
export interface LayerParameters extends SolveOptions {
  readonly method: "sparsegpt" | "magnitude";
  /** Columns a block, where this call factors. */
  readonly blocksize: number;
  /** λ, where this call factors. */
  readonly damping: number;
}

/** What the answer says of itself, in the words of the HTTP contract; the host adds the phases only it sees. */
export interface LayerReport {
  readonly method: LayerParameters["method"];
  readonly rows: number;
  readonly cols: number;
  readonly pattern: string;
  /** zeros / (rows·cols), as reached. */
  readonly sparsity: number;
  readonly zeros: number;
  readonly loss: number | null;
  readonly relative_error: number | null;
  /** λ used; null for a method that factors nothing. */
  readonly damping: number | null;
  readonly backend: Backend["kind"];
  readonly adapter: string;
  readonly seconds: { readonly factor: number; readonly solve: number; readonly refit: number };
  readonly factor_reused: boolean;
}

/** A compressed layer. */
export interface CompressedLayer {
  readonly solution: Solution;
  /** The factor made here, for the next layer with these inputs; the caller frees it. */
  readonly factor?: Factor;
  readonly report: LayerReport;
}

/**
 * Compresses one layer. `clock` gives milliseconds.
 * @throws {TypeError} when the method cannot use the operands
 * @throws what `factor` and the solvers throw; nothing made here stays allocated then
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
    throw new TypeError("magnitude: is judged by the undamped hessian, not by a factor");
  }
}
