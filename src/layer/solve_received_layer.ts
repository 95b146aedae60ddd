/**
 * Solves a layer that was read from a request, with the statistics of the request or with stored ones. If the statistics are stored, their
 * factor is stored with them for the next layer. This file decides what is copied, reused and freed; `compressLayer` does the mathematics.
 */

import type { Backend } from "../backend/backend.ts";
import { compressLayer, type LayerParameters, type LayerReport } from "./compress_layer.ts";
import { copyUpper } from "./copy_upper.ts";
import { TensorMismatchError } from "./errors.ts";
import type { Loan } from "./loan.ts";
import type { ReceivedLayer } from "./read_layer.ts";
import type { Solution } from "../solvers/solver.ts";

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
 * @param loan the stored statistics, if the request names some; `received` then has none
 * @throws what `compressLayer` throws
 */
export async function solveReceivedLayer(
  backend: Backend,
  received: ReceivedLayer,
  loan: Loan | undefined,
  parameters: LayerParameters,
  clock: () => number,
): Promise<LayerSolution> {
  const { layer } = received;
  const key = { damping: parameters.damping, blocksize: parameters.blocksize };
  const storedFactor = parameters.method === "sparsegpt" ? loan?.factor(key) : undefined;
  const hessianCopy = loan && !storedFactor ? copyUpper(backend, loan.hessian, layer.weight.edge) : undefined;
  try {
    const operands = storedFactor
      ? { layer, factor: storedFactor }
      : { layer, hessian: received.hessian ?? hessianCopy };
    const { solution, factor, report } = await compressLayer(backend, operands, parameters, clock);
    // A new factor was computed in the memory of the copy, and frees it when it is destroyed.
    if (factor && loan) loan.store(factor, key);
    else {
      factor?.destroy();
      hessianCopy?.destroy();
    }
    return { solution, report };
  } catch (error) {
    hessianCopy?.destroy();
    throw error;
  }
}
