import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { divideWindows, holdOut } from "../../src/prune/divide_windows.ts";

describe("divideWindows()", () => {
  it("gives each text its share, and the remaining windows to the largest remainders", () => {
    assert.deepEqual(divideWindows(128, [1]), [128]);
    assert.deepEqual(divideWindows(128, [2, 1, 1]), [64, 32, 32]);
    assert.deepEqual(divideWindows(10, [0.7, 0.3]), [7, 3]);
    assert.deepEqual(divideWindows(11, [1, 1]), [6, 5]);
  });

  it("gives each text at least one window and divides exactly all windows", () => {
    assert.deepEqual(divideWindows(3, [1, 1, 1]), [1, 1, 1]);
    for (const samples of [5, 17, 128]) {
      const counts = divideWindows(samples, [1000, 1, 0.01]);
      assert.equal(counts.reduce((a, b) => a + b), samples);
      assert.ok(counts.every((count) => count >= 1), String(counts));
    }
  });

  it("refuses fewer windows than texts", () => {
    assert.throws(() => divideWindows(2, [1, 1, 1]), {
      name: "RangeError",
      message: "2 calibration windows are fewer than the 3 texts",
    });
  });
});

describe("holdOut()", () => {
  const indices = (counts: readonly number[], share: number) => holdOut(counts, share).map((set) => [...set]);

  it("holds out evenly spaced windows, one in eight", () => {
    assert.deepEqual(indices([8], 1 / 8), [[4]]);
    assert.deepEqual(indices([32], 1 / 8), [[4, 12, 20, 28]]);
    assert.deepEqual(indices([35], 1 / 8), [[4, 13, 21, 30]]);
  });

  it("holds out none if the windows are fewer than one over the share, or if the share is 0", () => {
    assert.deepEqual(indices([7], 1 / 8), [[]]);
    assert.deepEqual(indices([3, 3], 1 / 8), [[], []]);
    assert.deepEqual(indices([128], 0), [[]]);
  });

  it("holds out a window of each text that has two", () => {
    assert.deepEqual(indices([16, 3, 1], 1 / 8), [[4, 12], [1], []]);
  });

  it("leaves windows to fit at the largest share", () => {
    assert.deepEqual(indices([2], 0.5), [[1]]);
    assert.deepEqual(indices([5], 0.5).map((set) => set.length), [2]);
  });
});
