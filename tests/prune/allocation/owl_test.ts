/** Compares the shares of outliers and the sparsities of the method OWL with the formulas of its paper in float64. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { outlierPercentage, owlSparsities } from "../../../src/prune/allocation/owl.ts";
import { type OwlLayer, referenceKeepRatios, referenceOutliers } from "../../reference/owl.ts";
import { assertClose } from "../../support/assert_close.ts";
import { normals, uniform } from "../../../scripts/fixtures/random.ts";

/** Generates the layers of a block with some large inputs and one dead input, which is 0 for every token. */
function randomBlock(seed: number): OwlLayer[] {
  return [[5, 7], [9, 13], [3, 40]].map(([rows, cols], index) => {
    const weight = normals(rows * cols, seed + index), x = normals(6 * cols, 100 + seed + index);
    const input = (t: number, j: number) => j === 2 ? 0 : x[t * cols + j] * (j % 5 === 0 ? 20 : 1);
    return {
      weight: Array.from({ length: rows }, (_, i) => [...weight.subarray(i * cols, (i + 1) * cols)]),
      inputs: Array.from({ length: 6 }, (_, t) => Array.from({ length: cols }, (_, j) => input(t, j))),
    };
  });
}

const toScored = ({ weight, inputs }: OwlLayer) => ({
  weight: Float32Array.from(weight.flat()),
  squaredNorms: Float32Array.from(
    weight[0],
    (_, j) => inputs.reduce((sum, token) => sum + token[j] ** 2, 0),
  ),
});

describe("outlierPercentage()", () => {
  it("returns the percentage of scores above five times the mean score of the block", () => {
    for (let seed = 0; seed < 20; seed++) {
      const block = randomBlock(seed), expected = referenceOutliers(block, 5);
      assert.ok(expected > 0, `seed ${seed} has no outliers`);
      assertClose([outlierPercentage(block.map(toScored))], [expected], 1e-9);
    }
  });

  it("returns 0 if every input of the block is 0", () => {
    assert.equal(outlierPercentage([{ weight: normals(12, 1), squaredNorms: new Float32Array(4) }]), 0);
  });
});

describe("owlSparsities()", () => {
  it("gives blocks of equal size the keep ratios of the paper", () => {
    const random = uniform(4);
    for (let blocks = 2; blocks < 40; blocks++) {
      const outliers = Array.from({ length: blocks }, () => 5 * random()), sparsity = 0.2 + 0.6 * random();
      const expected = referenceKeepRatios(outliers, sparsity, 0.08).map((ratio) => 1 - ratio);
      assertClose(owlSparsities(outliers, outliers.map(() => 48), sparsity), expected, 1e-12);
    }
  });

  it("keeps the sparsity of the model, and gives blocks with more outliers a lower sparsity", () => {
    const outliers = [3, 0.5, 2, 1], entries = [100, 700, 300, 50];
    const sparsities = owlSparsities(outliers, entries, 0.6);
    const zeros = sparsities.reduce((sum, value, i) => sum + value * entries[i], 0);
    assertClose([zeros], [0.6 * 1150], 1e-12);
    const ascending = [0, 2, 3, 1].map((i) => sparsities[i]);
    assert.deepEqual(ascending, ascending.toSorted((a, b) => a - b));
    assertClose([Math.max(...sparsities) - Math.min(...sparsities)], [0.16], 1e-12);
  });

  it("gives all blocks the same sparsity if they have the same share of outliers", () => {
    assert.deepEqual(owlSparsities([2, 2], [10, 30], 0.5), [0.5, 0.5]);
  });
});
