/** Compares the levels that dynamic programming chooses with a search of all choices. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { chooseLevels, type LeveledLayer } from "../../../src/prune/allocation/choose_levels.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

/** Returns the smallest sum of errors over all balanced choices, which are those with Σ level·size = 0. */
function bruteForce(layers: readonly LeveledLayer[]): number {
  const search = (i: number, balance: number): number => {
    if (i === layers.length) return balance === 0 ? 0 : Infinity;
    const { size, errors } = layers[i], reach = (errors.length - 1) / 2;
    return Math.min(
      ...errors.map((error, index) => error + search(i + 1, balance + (index - reach) * size)),
    );
  };
  return search(0, 0);
}

const balance = (layers: readonly LeveledLayer[], levels: readonly number[]) =>
  layers.reduce((sum, { size }, i) => sum + size * levels[i], 0);

const errorOf = (layers: readonly LeveledLayer[], levels: readonly number[]) =>
  layers.reduce((sum, { errors }, i) => sum + errors[levels[i] + (errors.length - 1) / 2], 0);

describe("chooseLevels()", () => {
  it("finds the smallest sum of errors of all choices with Σ level·size = 0, for random sizes and errors", () => {
    for (let seed = 0; seed < 120; seed++) {
      const random = uniform(seed), reach = 1 + seed % 3, unit = 1 + seed % 5;
      const layers = Array.from({ length: 1 + seed % 6 }, () => ({
        size: unit * (1 + Math.floor(random() * 7)),
        errors: Array.from({ length: 2 * reach + 1 }, random),
      }));
      const levels = chooseLevels(layers);
      assert.equal(balance(layers, levels), 0, `seed ${seed}`);
      assert.ok(Math.abs(errorOf(layers, levels) - bruteForce(layers)) < 1e-12, `seed ${seed}`);
    }
  });

  it("prunes a layer more if its errors grow more slowly", () => {
    const growing = (rate: number) => ({ size: 4096, errors: [-2, -1, 0, 1, 2].map((k) => rate * 2 ** k) });
    assert.deepEqual(chooseLevels([growing(1), growing(8), growing(1)]), [1, -2, 1]);
  });

  it("leaves every layer at level 0 if the sizes allow no other balanced choice", () => {
    assert.deepEqual(chooseLevels([{ size: 7, errors: [0, 1, 2] }]), [0]);
    assert.deepEqual(chooseLevels([{ size: 1, errors: [0, 1, 2] }, { size: 5, errors: [0, 9, 9] }]), [0, 0]);
  });

  it("balances the levels approximately if the sizes are large and have no common divisor", () => {
    const random = uniform(3), sizes = Array.from({ length: 40 }, () => 1e6 + Math.floor(random() * 1e7));
    const layers = sizes.map((size) => ({ size, errors: Array.from({ length: 9 }, random) }));
    const levels = chooseLevels(layers), total = sizes.reduce((sum, size) => sum + size, 0);
    assert.ok(Math.abs(balance(layers, levels)) < 1e-3 * total, `${balance(layers, levels)} of ${total}`);
    assert.ok(errorOf(layers, levels) < errorOf(layers, levels.map(() => 0)));
  });
});
