/** Tests the straight line that gives the slope of the memory. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { blockMeans, linearFit } from "../../../scripts/soak/linear_fit.ts";

describe("linearFit()", () => {
  it("finds the slope of points on a line, without an error", () => {
    const { slope, standardError } = linearFit([[1, 5], [2, 7], [4, 11]]);
    assert.ok(Math.abs(slope - 2) < 1e-12);
    assert.ok(standardError < 1e-12);
  });

  it("gives the textbook standard error of the slope", () => {
    // Residuals of y = 1, 3, 2 about the line 1 + x/2: -0.5, 1, -0.5, so s² = 1.5 and s²/Sxx = 0.75.
    const { slope, standardError } = linearFit([[1, 1], [2, 3], [3, 2]]);
    assert.ok(Math.abs(slope - 0.5) < 1e-12);
    assert.ok(Math.abs(standardError - Math.sqrt(0.75)) < 1e-12);
  });
});

describe("blockMeans()", () => {
  it("averages blocks of nearly equal length", () => {
    const points = [[0, 1], [2, 3], [4, 8], [6, 0], [8, 4]] as const;
    assert.deepEqual(blockMeans(points, 2), [[2, 4], [7, 2]]);
    assert.deepEqual(blockMeans(points.slice(0, 2), 4), [[0, 1], [2, 3]]);
  });
});
