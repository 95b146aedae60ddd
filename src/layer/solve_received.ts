/**
 * Solves a layer that was read from a request, with the request's own statistics or with stored ones. If the statistics are stored, the
 * factor is stored with them for the next layer. This file decides what is copied, reused and freed; `compressLayer` does the mathematics.
 */

import type { Backend } from "../backend/backend.ts";
import { copyUpper } from "./copy_upper.ts";
import { compressLayer, type LayerParameters, type LayerReport } from "./compress_layer.ts";
import type { Loan } from "./loan.ts";
import type { ReceivedLayer } from "./read_layer.ts";
import type { Solution } from "../solvers/solver.ts";
import { TensorMismatchError } from "./errors.ts";

/** A solved layer. The caller frees the solution. */
export interface LayerSolution {
  readonly solution: Solution;
  readonly report: LayerReport;
}

/**
 * Checks that stored statistics have as many inputs as the layer.
 * @throws {TensorMismatchError} if they do not
 */
export function checkLoanFits({ rows, cols }: ReceivedLayer, loan: Loan): void {
  const order = loan.hessian.cols;
  if (order !== cols) {
    throw new TensorMismatchError(
      "weight",
      `[out_features, ${order}] to fit the stored statistics`,
      `[${rows}, ${cols}]`,
    );
  }
}

/**
 * Solves `received` and overwrites its tensors.
 * @param loan the stored statistics, if the request names some; the body then has none
 * @throws what `compressLayer` throws
 */
export async function solveReceived(
  backend: Backend,
  received: ReceivedLayer,
  loan: Loan | undefined,
  parameters: LayerParameters,
  clock: () => number,
): Promise<LayerSolution> {
  const { layer } = received;
  const key = { damping: parameters.damping, blocksize: parameters.blocksize };
  const reused = parameters.method === "sparsegpt" ? loan?.factor(key) : undefined;
  const copy = loan && !reused ? copyUpper(backend, loan.hessian, layer.weight.edge) : undefined;
  try {
    const operands = reused ? { layer, factor: reused } : { layer, hessian: received.hessian ?? copy };
    const { solution, factor, report } = await compressLayer(backend, operands, parameters, clock);
    if (factor && loan) loan.store(factor, key);
    else {
      factor?.destroy();
      copy?.destroy();
    }
    return { solution, report };
  } catch (error) {
    copy?.destroy();
    throw error;
  }
}
