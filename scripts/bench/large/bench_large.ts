/**
 * Solves one layer too large for a request on this machine, in this process, and checks the answer in float64 on sampled rows. It
 * times phases by the clock and by processor seconds. It writes no file, and compares with no other program.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import { type Factor, factor } from "../../../src/linalg/factor.ts";
import { solveSparseGpt } from "../../../src/solvers/sparsegpt.ts";
import type { Solution } from "../../../src/solvers/solver.ts";
import { countBits, wordsPerRow } from "../../../src/sparsity/mask_bits.ts";
import { factorFlops, solveFlops } from "../flops.ts";
import { type FactorCheck, FactorChecker } from "./check_factor.ts";
import { type SolutionCheck, SolutionChecker } from "./check_solution.ts";
import { type LargeShape, makeHessian, makeInputs, makeWeight } from "./layer.ts";
import { readRow, readTiles, spread } from "./read_rows.ts";
import { measureUsage, type Usage } from "./usage.ts";

/** Columns a block, the default of a request. */
export const BLOCK_SIZE = 128;

const SPARSITY = 0.5;
const DAMPING = 0.01;
/** Rows of R·Rᵀ and of W that are checked. */
const SAMPLED_ROWS = 8;

/** One layer, solved and checked. */
export interface LargeResult extends LargeShape {
  readonly backend: Backend["kind"];
  readonly adapter: string;
  readonly phases: Readonly<Record<"statistics" | "factor" | "solve" | "check", Usage>>;
  /** By the formulas of `flops.ts`. */
  readonly factorFlops: number;
  readonly solveFlops: number;
  readonly zeros: number;
  readonly loss: number | null;
  readonly factorCheck: FactorCheck;
  readonly solutionCheck: SolutionCheck;
  /** Device memory at most. */
  readonly deviceBytes: number;
}

/**
 * Makes, factors, solves to a half and checks the layer of `shape`. `log` hears of every phase when it is done.
 * @throws {Error} a check failed; {RangeError} the device has no room
 */
export async function benchLarge(
  backend: Backend,
  shape: LargeShape,
  log: (line: string) => void,
): Promise<LargeResult> {
  const timed = async <T>(phase: string, work: () => Promise<T>): Promise<[T, Usage]> => {
    const [result, usage] = await measureUsage(work);
    log(`${phase}: ${usage.seconds.toFixed(1)} s, ${usage.cpuSeconds.toFixed(1)} processor seconds`);
    return [result, usage];
  };
  const { rows, cols } = shape;
  const inputs = makeInputs(shape);
  const [hessian, statisticsUsage] = await timed("statistics", () => makeHessian(backend, inputs, shape));
  const options = { damping: DAMPING, blocksize: BLOCK_SIZE };
  const [factored, factorUsage] = await timed("factor", () => factor(backend, hessian, options));
  const weight = makeWeight(backend, shape);
  await backend.finish();
  const [solution, solveUsage] = await timed("solve", () =>
    solveSparseGpt(backend, { weight }, factored, {
      sparsity: SPARSITY,
      pattern: { kind: "unstructured" },
      relativeError: false,
    }));
  weight.destroy();
  const [checks, checkUsage] = await timed("check", () => check(backend, shape, inputs, factored, solution));
  const { zeros, loss } = solution;
  solution.destroy();
  factored.destroy();
  return {
    ...shape,
    backend: backend.kind,
    adapter: backend.adapter.name,
    phases: { statistics: statisticsUsage, factor: factorUsage, solve: solveUsage, check: checkUsage },
    factorFlops: factorFlops(cols),
    solveFlops: solveFlops(rows, cols),
    zeros,
    loss,
    ...checks,
    deviceBytes: backend.counters.bytesPeak,
  };
}

async function check(
  backend: Backend,
  shape: LargeShape,
  inputs: Float32Array,
  factored: Factor,
  solution: Solution,
): Promise<Pick<LargeResult, "factorCheck" | "solutionCheck">> {
  const { rows, cols } = shape, words = wordsPerRow(cols);
  const mask = new Uint32Array((await backend.read(solution.mask, 0, 4 * rows * words)).buffer);
  checkZeros(shape, solution.zeros, rows * cols - countBits(mask));
  const solutionRows = new SolutionChecker(spread(rows, SAMPLED_ROWS), shape, mask, words);
  const factorRows = await FactorChecker.begin(backend, factored.r, spread(cols, SAMPLED_ROWS));
  for await (const tile of readTiles(backend, factored.r)) {
    factorRows.take(tile);
    solutionRows.take(tile);
  }
  return {
    factorCheck: factorRows.finish(inputs, shape, factored.damping),
    solutionCheck: await solutionRows.finish((row) => readRow(backend, solution.q, row)),
  };
}

/** @throws {Error} the mask prunes, or the solver says it pruned, another number than asked for */
function checkZeros({ rows, cols }: LargeShape, said: number, inMask: number): void {
  const asked = Math.round(SPARSITY * rows * cols);
  if (said !== asked || inMask !== asked) {
    throw new Error(`zeros: ${asked} were asked for, the mask has ${inMask}, the solver says ${said}`);
  }
}
