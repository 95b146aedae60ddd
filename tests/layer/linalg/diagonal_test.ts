/**
 * Tests how the diagonal of the statistics H is prepared before the factorisation. The tests cover dead
 * inputs (zeros on the diagonal), invalid entries, and the dampings of the retries.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { addDamping, nextDamping, prepareDiagonal } from "../../../src/layer/linalg/factor.ts";
import { InvalidStatisticsError } from "../../../src/layer/linalg/errors.ts";

describe("prepareDiagonal()", () => {
  it("sets dead inputs to 1 before it computes the mean", () => {
    const diagonal = Float32Array.of(2, 0, 4, -0);
    const { values, dead, mean } = prepareDiagonal(diagonal);
    assert.deepEqual([...values], [2, 1, 4, 1]);
    assert.deepEqual([...dead!], [0, 1, 0, 1]);
    assert.equal(mean, 2);
    assert.equal(diagonal[1], 0);
  });

  it("returns no flags of dead inputs if no input is dead", () => {
    assert.equal(prepareDiagonal(Float32Array.of(1, 2)).dead, undefined);
  });

  it("rejects negative and non-finite entries, and names the first one", () => {
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

describe("addDamping()", () => {
  it("adds the damping to every entry", () => {
    assert.deepEqual([...addDamping(Float32Array.of(1, 2), 0.5)], [1.5, 2.5]);
  });
});

describe("nextDamping()", () => {
  /** Returns all dampings that are tried if every attempt fails. */
  function dampingsFrom(first: number): number[] {
    const tried = [first];
    for (let next = nextDamping(first); next !== undefined; next = nextDamping(next)) tried.push(next);
    return tried;
  }

  it("multiplies the damping by ten, up to 1", () => {
    assert.deepEqual(dampingsFrom(0.01), [0.01, 0.1, 1]);
    assert.deepEqual(dampingsFrom(0.05), [0.05, 0.5, 1]);
  });

  it("continues with 0.01 after a damping below 0.001", () => {
    assert.deepEqual(dampingsFrom(0), [0, 0.01, 0.1, 1]);
    assert.deepEqual(dampingsFrom(1e-9), [1e-9, 0.01, 0.1, 1]);
  });

  it("ends after a damping of 1 or more", () => {
    assert.deepEqual(dampingsFrom(1), [1]);
    assert.deepEqual(dampingsFrom(3), [3]);
  });
});
