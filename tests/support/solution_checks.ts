/** Checks the solution of any solver: exact zeros, a mask that matches them, and agreement with a float64 reference. */

import assert from "node:assert/strict";
import type { Backend } from "../../src/backend/backend.ts";
import type { Solution } from "../../src/solvers/solver.ts";
import type { Pattern } from "../../src/sparsity/pattern.ts";
import type { Groups, ReferenceSolution } from "../reference/sparsegpt.ts";
import { assertClose } from "./assert_close.ts";
import { readSolution } from "./layers.ts";

/** The least fraction of equal mask entries. Rounding in f32 may swap entries whose scores nearly tie, but not one in a thousand. */
const LEAST_EQUAL_MASK = 0.999;
/** The tolerance of the relative error and of the loss. */
const ERROR_TOLERANCE = 5e-3;

/** A sparsity and a pattern to prune to, with a name for test titles. */
export interface Request {
  readonly name: string;
  readonly sparsity: number;
  readonly pattern: Pattern;
  readonly groups?: Groups;
}

function groups(keep: number, group: number): Request {
  return {
    name: `${keep}:${group}`,
    sparsity: 0,
    pattern: { kind: "n:m", keep, group },
    groups: { keep, group },
  };
}

function unstructured(sparsity: number): Request {
  return { name: `${100 * sparsity} %`, sparsity, pattern: { kind: "unstructured" } };
}

/** The sparsities and patterns that are tested at every size. */
export const REQUESTS: readonly Request[] = [
  unstructured(0.1),
  unstructured(0.5),
  unstructured(0.9),
  groups(2, 4),
  groups(4, 8),
  groups(1, 4),
];

/**
 * Asserts that the solution prunes as many entries as the reference, that pruned entries are exactly 0, that nearly all mask entries
 * agree, and that loss and relative error agree. If the masks are equal, the weights must agree too.
 * @throws {AssertionError} if not
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
  assert.ok(equal >= LEAST_EQUAL_MASK * mask.length, `${equal} of ${mask.length} mask entries are equal`);
  if (equal === mask.length) assertClose(q, expected.q, 1e-3, { label: "weights" });
  assertClose([solution.loss!], [expected.loss], ERROR_TOLERANCE, { label: "loss" });
  if (solution.relativeError !== null) {
    assertClose([solution.relativeError], [expected.relativeError], ERROR_TOLERANCE, {
      label: "relative error",
    });
  }
}
