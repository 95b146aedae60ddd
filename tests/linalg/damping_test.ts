/** The diagonal before the factorisation: dead inputs, bad input, and the ladder of dampings. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { addDamping, nextDamping, prepareDiagonal } from "../../src/linalg/damping.ts";
import { InvalidStatisticsError } from "../../src/linalg/errors.ts";

describe("prepareDiagonal", () => {
  it("sets dead inputs to 1 before taking the mean", () => {
    const diagonal = Float32Array.of(2, 0, 4, -0);
    const { values, dead, mean } = prepareDiagonal(diagonal);
    assert.deepEqual([...values], [2, 1, 4, 1]);
    assert.deepEqual([...dead!], [0, 1, 0, 1]);
    assert.equal(mean, 2);
    assert.equal(diagonal[1], 0);
  });

  it("has no flags when every input is live", () => {
    assert.equal(prepareDiagonal(Float32Array.of(1, 2)).dead, undefined);
  });

  it("names the first entry no statistics have", () => {
    for (const value of [-1e-30, NaN, Infinity, -Infinity]) {
      assert.throws(() => prepareDiagonal(Float32Array.of(1, 0, value, value)), (error) => {
        assert.ok(error instanceof InvalidStatisticsError);
        assert.equal(error.index, 2);
        assert.ok(Object.is(error.value, Math.fround(value)));
        return true;
      });
    }
  });
});

describe("addDamping", () => {
  it("adds to every entry", () => {
    assert.deepEqual([...addDamping(Float32Array.of(1, 2), 0.5)], [1.5, 2.5]);
  });
});

describe("nextDamping", () => {
  function ladder(first: number): number[] {
    const tried = [first];
    for (let next = nextDamping(first); next !== undefined; next = nextDamping(next)) tried.push(next);
    return tried;
  }

  it("goes up tenfold to 1", () => {
    assert.deepEqual(ladder(0.01), [0.01, 0.1, 1]);
    assert.deepEqual(ladder(0.05), [0.05, 0.5, 1]);
  });

  it("starts again at 0.01 from less than a tenth of it", () => {
    assert.deepEqual(ladder(0), [0, 0.01, 0.1, 1]);
    assert.deepEqual(ladder(1e-9), [1e-9, 0.01, 0.1, 1]);
  });

  it("tries 1 and what is over it once", () => {
    assert.deepEqual(ladder(1), [1]);
    assert.deepEqual(ladder(3), [3]);
  });
});
