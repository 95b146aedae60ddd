/** What every solver's answer is held to, whatever the method: exact zeros, a faithful mask, and agreement with float64. */

import assert from "node:assert/strict";
import type { Backend } from "../../src/backend/backend.ts";
import type { Solution } from "../../src/solvers/solver.ts";
import type { Pattern } from "../../src/sparsity/pattern.ts";
import type { Groups, ReferenceSolution } from "../reference/sparsegpt.ts";
import { assertClose } from "./assert_close.ts";
import { readSolution } from "./layers.ts";

/** f32 rounding may swap entries whose scores all but tie; past one in a thousand something else is wrong. */
const LEAST_EQUAL_MASK = 0.999;
/** Of the relative error, and of the loss. */
const ERROR_TOLERANCE = 5e-3;

/** A pattern and a sparsity as a test names and asks for them. */
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

/** Sparsities and patterns every size is solved at. */
export const REQUESTS: readonly Request[] = [
  unstructured(0.1),
  unstructured(0.5),
  unstructured(0.9),
  groups(2, 4),
  groups(4, 8),
  groups(1, 4),
];

/**
 * The solution prunes as many entries as the reference, is exactly 0 there and nowhere silently different, and is as good.
 * Where the masks are equal the weights must be too.
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
  if (equal === mask.length) assertClose(q, expected.q, 1e-3, { what: "weights" });
  assertClose([solution.loss!], [expected.loss], ERROR_TOLERANCE, { what: "loss" });
  if (solution.relativeError !== null) {
    assertClose([solution.relativeError], [expected.relativeError], ERROR_TOLERANCE, {
      what: "relative error",
    });
  }
}
