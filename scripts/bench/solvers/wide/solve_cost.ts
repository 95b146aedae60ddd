/**
 * Counts the work of the solvers in units that can be timed by themselves: products of the layer's shape,
 * Cholesky factors, and one SparseGPT solve. The ratio of a method's time to the time of these parts shows
 * how much the method spends on everything else.
 */

import { factorFlops, solveFlops } from "../../measure/flops.ts";
import { ALPS_SCHEDULES, type Effort } from "../../../../src/solvers/alps.ts";

/** The parts of a method. */
export interface SolveParts {
  /** Products of the weights with an (n, n) matrix. A pair of triangular solves counts as one, because it has as many operations. */
  readonly products: number;
  /** Cholesky factors, including the one that SparseGPT needs. */
  readonly factors: number;
  /** SparseGPT solves. */
  readonly solves: number;
}

/** The products of a refit with `steps` steps: one for each step, and one to measure the loss before and after it. */
function refitProducts(steps: number): number {
  return steps + 2;
}

/** The parts of SparseGPT, with the given number of refit steps after it. */
export function sparseGptParts(refitSteps: number): SolveParts {
  return { products: refitSteps > 0 ? refitProducts(refitSteps) : 0, factors: 1, solves: 1 };
}

/**
 * The parts of ALPS: SparseGPT and the refit of its mask, one product for G, one pair of triangular solves for
 * each iteration, one factor for each ρ, and the refit of the mask that was found.
 */
export function alpsParts(effort: Effort, refitSteps: number): SolveParts {
  const { iterations, rungs } = ALPS_SCHEDULES[effort];
  return {
    products: 1 + iterations * rungs + 2 * refitProducts(refitSteps),
    factors: 1 + rungs,
    solves: 1,
  };
}

/** The operations of all parts for an (n, n) layer: 2·n³ for each product, n³/3 for each factor, and those of the solves. */
export function partFlops({ products, factors, solves }: SolveParts, n: number): number {
  return products * 2 * n ** 3 + factors * factorFlops(n) + solves * solveFlops(n, n);
}
