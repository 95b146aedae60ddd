/**
 * Solves one layer that is too large for an HTTP request on this machine, and checks the result in float64 on
 * sampled rows. The solve runs in this process. Each phase is timed in wall-clock seconds and in processor
 * seconds.
 */

import type { Backend } from "../../../src/backend/backend.ts";
import { type Factor, factor } from "../../../src/linalg/factor.ts";
import { DEFAULT_BLOCKSIZE, DEFAULT_DAMPING } from "../../../src/protocol/limits.ts";
import { solveSparseGpt } from "../../../src/solvers/sparsegpt.ts";
import type { Solution } from "../../../src/solvers/solver.ts";
import { countBits, wordsPerRow } from "../../../src/sparsity/mask_bits.ts";
import { factorFlops, solveFlops } from "../measure/flops.ts";
import { type FactorCheck, FactorChecker } from "./check_factor.ts";
import { type SolutionCheck, SolutionChecker } from "./check_solution.ts";
import { type LargeShape, makeHessian, makeInputs, makeWeight } from "./large_layer.ts";
import { evenlySpaced, readRow, readTiles } from "./read_rows.ts";
import { measureUsage, type Usage } from "./usage.ts";

const SPARSITY = 0.5;
/**
 * The number of rows of R·Rᵀ that are checked, where R is the factor of the Hessian, and the number of rows of
 * the weights that are checked.
 */
const SAMPLED_ROWS = 8;

/** The measurements and checks of one layer. */
export interface LargeResult extends LargeShape {
  readonly backend: Backend["kind"];
  readonly adapter: string;
  readonly phases: Readonly<Record<"statistics" | "factor" | "solve" | "check", Usage>>;
  /** The flops of the factorisation, counted by a formula of `flops.ts`. */
  readonly factorFlops: number;
  /** The flops of the solve, counted by a formula of `flops.ts`. */
  readonly solveFlops: number;
  readonly zeros: number;
  readonly loss: number | null;
  readonly factorCheck: FactorCheck;
  readonly solutionCheck: SolutionCheck;
  /** The most device memory that was allocated at one time. */
  readonly deviceBytes: number;
}

/**
 * Creates the layer of `shape`, factors its Hessian, prunes half of its weights and checks the result. `log`
 * is called when a phase has finished.
 * @throws {Error} if a check fails
 * @throws {RangeError} if the device has too little memory
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
  const options = { damping: DEFAULT_DAMPING, blocksize: DEFAULT_BLOCKSIZE };
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
  const [checks, checkUsage] = await timed(
    "check",
    () => checkResult(backend, shape, inputs, factored, solution),
  );
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

async function checkResult(
  backend: Backend,
  shape: LargeShape,
  inputs: Float32Array,
  factored: Factor,
  solution: Solution,
): Promise<Pick<LargeResult, "factorCheck" | "solutionCheck">> {
  const { rows, cols } = shape, words = wordsPerRow(cols);
  const mask = new Uint32Array((await backend.read(solution.mask, 0, 4 * rows * words)).buffer);
  requireExactZeros(shape, solution.zeros, rows * cols - countBits(mask));
  const solutionChecker = new SolutionChecker(evenlySpaced(rows, SAMPLED_ROWS), shape, mask, words);
  const factorChecker = await FactorChecker.start(backend, factored.r, evenlySpaced(cols, SAMPLED_ROWS));
  for await (const tile of readTiles(backend, factored.r)) {
    factorChecker.add(tile);
    solutionChecker.add(tile);
  }
  return {
    factorCheck: factorChecker.compare(inputs, shape, factored.damping),
    solutionCheck: await solutionChecker.compare((row) => readRow(backend, solution.q, row)),
  };
}

/** @throws {Error} if the number of zeros that the solver reports, or the number in the mask, is not the requested one */
function requireExactZeros({ rows, cols }: LargeShape, reported: number, inMask: number): void {
  const requested = Math.round(SPARSITY * rows * cols);
  if (reported !== requested || inMask !== requested) {
    throw new Error(
      `zeros: ${requested} were requested, the mask has ${inMask}, the solver reports ${reported}`,
    );
  }
}
