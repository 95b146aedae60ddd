/**
 * Solves a layer that a request brought, with the statistics it brought or stored ones, and keeps the factor where those are shared. It
 * decides what is copied, consumed, reused and freed; the mathematics is `compressLayer`'s.
 */

import type { Backend } from "../backend/backend.ts";
import { copyUpper } from "./copy_upper.ts";
import { compressLayer, type LayerParameters, type LayerReport } from "./compress_layer.ts";
import type { Loan } from "./loan.ts";
import type { ReceivedLayer } from "./read_layer.ts";
import type { Solution } from "../solvers/solver.ts";
import { TensorMismatchError } from "./errors.ts";

/** A solved layer, which the caller frees. */
export interface SolvedLayer {
  readonly solution: Solution;
  readonly report: LayerReport;
}

/**
 * Refuses stored statistics of another order than the layer's columns.
 * @throws {TensorMismatchError}
 */
export function checkLoanFits({ rows, cols }: ReceivedLayer, loan: Loan): void {
  const order = loan.hessian.cols;
  if (order !== cols) {
    throw new TensorMismatchError(
      "weight",
      `[out_features, ${order}], as the stored statistics`,
      `[${rows}, ${cols}]`,
    );
  }
}

/**
 * Solves `received`, whose tensors are of no use after. `loan`: stored statistics; the body then has none.
 * @throws what `compressLayer` throws
 */
export async function solveReceived(
  backend: Backend,
  received: ReceivedLayer,
  loan: Loan | undefined,
  parameters: LayerParameters,
  clock: () => number,
): Promise<SolvedLayer> {
  const { layer } = received;
  const key = { damping: parameters.damping, blocksize: parameters.blocksize };
  const reused = parameters.method === "sparsegpt" ? loan?.factor(key) : undefined;
  const copy = loan && !reused ? copyUpper(backend, loan.hessian, layer.weight.edge) : undefined;
  try {
    const operands = reused ? { layer, factor: reused } : { layer, hessian: received.hessian ?? copy };
    const { solution, factor, report } = await compressLayer(backend, operands, parameters, clock);
    if (factor && loan) loan.keep(factor, key);
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
