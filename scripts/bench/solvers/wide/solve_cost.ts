/**
 * Counts the work of the solvers in parts that can be timed by themselves. The parts are matrix products of
 * the layer's size, Cholesky factors, and one SparseGPT solve. A method's time divided by the time of its
 * parts shows how much time it spends on everything else.
 */

import { factorFlops, solveFlops } from "../../measure/flops.ts";
import { ALPS_SCHEDULES, type Effort } from "../../../../src/solvers/alps.ts";

/** The parts of a method. */
export interface SolveParts {
  /**
   * The number of products of the (n, n) weights with an (n, n) matrix. A pair of triangular solves counts as
   * one product, because it has as many operations.
   */
  readonly products: number;
  /** The number of Cholesky factors, including the one that SparseGPT needs. */
  readonly factors: number;
  /** The number of SparseGPT solves. */
  readonly solves: number;
}

/**
 * Counts the products of a refit, which improves the kept weights in steps. Each step takes one product. Two
 * more measure the loss before the first step and after the last one.
 */
function refitProducts(steps: number): number {
  return steps + 2;
}

/**
 * Returns the parts of SparseGPT and a refit with `refitSteps` steps. There is no refit if `refitSteps` is 0.
 */
export function sparseGptParts(refitSteps: number): SolveParts {
  return { products: refitSteps > 0 ? refitProducts(refitSteps) : 0, factors: 1, solves: 1 };
}

/**
 * Returns the parts of ALPS. ALPS starts with SparseGPT and a refit of SparseGPT's mask. It takes one product
 * for the weights times the statistics. Then every iteration takes one pair of triangular solves, and every
 * value of the penalty ρ takes one factor. Finally, the mask that ALPS found is refitted.
 */
export function alpsParts(effort: Effort, refitSteps: number): SolveParts {
  const { iterations, rungs } = ALPS_SCHEDULES[effort];
  return {
    products: 1 + iterations * rungs + 2 * refitProducts(refitSteps),
    factors: 1 + rungs,
    solves: 1,
  };
}

/**
 * Returns the operations of all parts for an (n, n) layer. A product takes 2·n³ operations and a factor takes
 * n³/3. `solveFlops` counts those of a SparseGPT solve.
 */
export function partFlops({ products, factors, solves }: SolveParts, n: number): number {
  return products * 2 * n ** 3 + factors * factorFlops(n) + solves * solveFlops(n, n);
}
