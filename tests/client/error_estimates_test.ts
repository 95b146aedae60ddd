/** Tests the estimates by which a client compares the error of an answer with its report. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { errorForms, estimates, type Rows } from "../../src/client/answers/error_forms.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { f32 } from "./fake_host.ts";

const COUNT = 40, N = 12;

/** Returns a matrix whose rows count how often they are read. */
function countedRows(): { m: Rows; readonly reads: number[] } {
  const values = normals(COUNT * N, 3), reads = new Array<number>(COUNT).fill(0);
  const row = (index: number) => {
    reads[index]++;
    return values.slice(index * N, (index + 1) * N);
  };
  return { m: { count: COUNT, row }, reads };
}

const upper = (matrix: ArrayLike<number>) =>
  Array.from(matrix).filter((_, at) => at % N >= Math.floor(at / N));

/** The statistics of the same layer, as a request may have them. */
const matrix = correlatedHessian(N, { seed: 2 });
const FORMS = {
  "a matrix": errorForms({ hessian: f32([N, N], [...matrix]) }, N, {})!,
  "a packed triangle": errorForms({ hessian_upper: f32([N * (N + 1) / 2], upper(matrix)) }, N, {})!,
  "inputs": errorForms({ inputs: f32([30, N], [...normals(30 * N, 4)]) }, N, {})!,
};

describe("estimates() of an error", () => {
  for (const [name, forms] of Object.entries(FORMS)) {
    it(`has the exact error as the mean and the deviation of four random sums with ${name}`, () => {
      const { m } = countedRows(), exact = [...estimates(m, forms)].at(-1)!;
      assert.ok(exact.isExact);
      const runs = 4000,
        quotients = Array.from({ length: runs }, () => {
          const [first] = estimates(m, forms);
          return first.value / exact.value;
        });
      const mean = quotients.reduce((sum, value) => sum + value, 0) / runs;
      const variance = quotients.reduce((sum, value) => sum + (value - mean) ** 2, 0) / runs;
      assert.ok(Math.abs(mean - 1) < 5 * Math.sqrt(variance / runs), `${mean}`);
      assert.ok(variance > 0 && variance < 2 / 4, `${variance}`);
    });
  }

  it("reads every row once for each sketch, and only as many sketches as are asked for", () => {
    const { m, reads } = countedRows(), all = estimates(m, FORMS["a packed triangle"]);
    for (const wanted of [1, 2, 4]) {
      all.next();
      assert.deepEqual(new Set(reads), new Set([wanted]));
    }
  });
});
