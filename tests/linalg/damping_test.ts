/** Tests how the diagonal is prepared for the factorisation: dead inputs, invalid entries, and the dampings that are tried in turn. */

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

  it("returns no flags when every input is live", () => {
    assert.equal(prepareDiagonal(Float32Array.of(1, 2)).dead, undefined);
  });

  it("names the first entry that is negative or not finite", () => {
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
  it("adds the damping to every entry", () => {
    assert.deepEqual([...addDamping(Float32Array.of(1, 2), 0.5)], [1.5, 2.5]);
  });
});

describe("nextDamping", () => {
  function allDampings(first: number): number[] {
    const dampings = [first];
    for (let next = nextDamping(first); next !== undefined; next = nextDamping(next)) dampings.push(next);
    return dampings;
  }

  it("multiplies by ten, up to 1", () => {
    assert.deepEqual(allDampings(0.01), [0.01, 0.1, 1]);
    assert.deepEqual(allDampings(0.05), [0.05, 0.5, 1]);
  });

  it("continues at 0.01 after a damping below 0.001", () => {
    assert.deepEqual(allDampings(0), [0, 0.01, 0.1, 1]);
    assert.deepEqual(allDampings(1e-9), [1e-9, 0.01, 0.1, 1]);
  });

  it("returns nothing after a damping of 1 or more", () => {
    assert.deepEqual(allDampings(1), [1]);
    assert.deepEqual(allDampings(3), [3]);
  });
});
