/**
 * Checks that apply to the solution of every solver: pruned weights are exactly 0, the mask matches the weights, and the
 * solution agrees with a float64 reference.
 */

import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { relativeError, type Solution } from "../../src/layer/solvers/solver.ts";
import type { Pattern } from "../../src/tensor/pattern.ts";
import type { Groups, ReferenceSolution } from "../reference/sparsegpt.ts";
import { assertClose } from "./assert_close.ts";
import { readSolution } from "./layers.ts";
import { uniform } from "../../scripts/fixtures/random.ts";

/**
 * The smallest fraction of mask entries that must equal the reference. Rounding in f32 can swap entries with
 * nearly equal scores. If more than one entry in a thousand differs, there is another cause.
 */
const MIN_EQUAL_MASK = 0.999;
/** The tolerance for the loss and for the relative error. */
const ERROR_TOLERANCE = 5e-3;

/** A combination of pattern and sparsity to test. */
export interface SolveCase {
  /** A name for test titles. */
  readonly name: string;
  readonly sparsity: number;
  readonly pattern: Pattern;
  /** The same pattern in the form that the reference needs. Undefined for unstructured sparsity. */
  readonly groups?: Groups;
}

function groups(keep: number, group: number): SolveCase {
  return {
    name: `${keep}:${group}`,
    sparsity: 0,
    pattern: { kind: "n:m", keep, group },
    groups: { keep, group },
  };
}

function unstructured(sparsity: number): SolveCase {
  return { name: `${100 * sparsity} %`, sparsity, pattern: { kind: "unstructured" } };
}

/** The combinations that are tested for every size. */
export const SOLVE_CASES: readonly SolveCase[] = [
  unstructured(0.1),
  unstructured(0.5),
  unstructured(0.9),
  groups(2, 4),
  groups(4, 8),
  groups(1, 4),
];

/** A pattern whose group size divides no tile edge. Magnitude pruning and SparseGPT do not support it. */
export const FIVE_OF_SEVEN = groups(5, 7);

/** A layer to solve. If `edge` is given, the tiles are so small that there are several. */
export interface LayerCase {
  readonly rows: number;
  readonly cols: number;
  readonly edge?: number;
  readonly dead?: readonly number[];
  /** The share of forced entries. Row 0 is then forced as a whole. */
  readonly forced?: number;
}

/** Describes a layer for test titles. */
export function describeCase({ rows, cols, edge, dead, forced }: LayerCase): string {
  return `${rows}×${cols}${edge ? ` in tiles of ${edge}` : ""}${dead ? " with dead inputs" : ""}` +
    (forced ? " with forced entries" : "");
}

/** Returns the random flags of the forced entries, (rows, cols), or undefined if there are none. */
export function forcedFlags({ rows, cols, forced }: LayerCase): Uint8Array | undefined {
  if (forced === undefined) return undefined;
  const next = uniform(8);
  return Uint8Array.from({ length: rows * cols }, (_, i) => i < cols || next() < forced ? 1 : 0);
}

/**
 * Asserts that a solution prunes as many entries as the reference, that pruned weights are exactly 0, that almost all mask
 * entries are equal, and that loss and relative error agree. If all mask entries are equal, the weights must agree too.
 *
 * @throws {AssertionError}
 */
export async function assertSolution(
  backend: Backend,
  solution: Solution,
  expected: ReferenceSolution,
): Promise<void> {
  const { q, mask, paddingBits } = await readSolution(backend, solution);
  assert.equal(paddingBits, 0, "padding bits of the mask");
  assert.equal(solution.zeros, mask.reduce((sum, kept) => sum + 1 - kept, 0), "zeros reported");
  assert.equal(solution.zeros, expected.mask.reduce((sum, kept) => sum + 1 - kept, 0), "zeros expected");
  let equal = 0;
  mask.forEach((kept, i) => {
    if (!kept) assert.ok(Object.is(q[i], 0), `pruned entry ${i} is ${q[i]}`);
    if (kept === expected.mask[i]) equal++;
  });
  assert.ok(equal >= MIN_EQUAL_MASK * mask.length, `${equal} of ${mask.length} mask entries are equal`);
  if (equal === mask.length) assertClose(q, expected.q, 1e-3, { label: "weights" });
  assertClose([solution.loss!], [expected.loss], ERROR_TOLERANCE, { label: "loss" });
  if (relativeError(solution) !== null) {
    assertClose([relativeError(solution)!], [expected.relativeError], ERROR_TOLERANCE, {
      label: "relative error",
    });
  }
}
