/** Tests that the numbers of zeros of the layers add up to the exact total, for random shapes and sparsities. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { exactCounts, sparsityForZeros } from "../../../src/prune/allocation/exact_counts.ts";
import { layerQuerySchema } from "../../../src/protocol/parameters.ts";
import { searchParamsOf } from "../../../src/protocol/search_params.ts";
import { PruningBudget } from "../../../src/tensor/pattern.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** Generates layers of random sizes, and sparsities that may lie outside of the range from 0 to 1. */
function randomLayers(seed: number): { entries: number[]; sparsities: number[]; random: () => number } {
  const random = uniform(seed);
  const entries = Array.from(
    { length: 1 + Math.floor(random() * 12) },
    () => (1 + Math.floor(random() * 300)) * (1 + Math.floor(random() * 300)),
  );
  return { entries, sparsities: entries.map(() => random() * 1.4 - 0.2), random };
}

describe("exactCounts()", () => {
  it("returns counts with the exact total, and no count above the size of its layer", () => {
    for (let seed = 0; seed < 500; seed++) {
      const { entries, sparsities, random } = randomLayers(seed);
      const all = sum(entries), total = [0, all, Math.round(random() * all)][seed % 3];
      const counts = exactCounts(entries, sparsities, total);
      assert.equal(sum(counts), total, `seed ${seed}`);
      counts.forEach((count, i) => assert.ok(Number.isInteger(count) && count >= 0 && count <= entries[i]));
    }
  });

  it("changes no count by more than one if the sparsities already give the total", () => {
    for (let seed = 0; seed < 200; seed++) {
      const { entries, random } = randomLayers(seed);
      const sparsities = entries.map(() => random());
      const quotas = entries.map((count, i) => count * sparsities[i]);
      const counts = exactCounts(entries, sparsities, Math.round(sum(quotas)));
      counts.forEach((count, i) => assert.ok(Math.abs(count - quotas[i]) <= 1 + 1e-6, `seed ${seed}`));
    }
  });

  it("gives the extra zeros to the layers with the largest fractional parts, and to the first of equal layers", () => {
    assert.deepEqual(exactCounts([10, 10, 10], [0.11, 0.18, 0.16], 4), [1, 2, 1]);
    assert.deepEqual(exactCounts([3, 3, 3], [0.5, 0.5, 0.5], 5), [2, 2, 1]);
  });

  it("lowers no count by more than one if the total is raised", () => {
    const { entries, sparsities } = randomLayers(7);
    let before = exactCounts(entries, sparsities, 0);
    for (let total = 0; total <= sum(entries); total += Math.ceil(sum(entries) / 97)) {
      const counts = exactCounts(entries, sparsities, total);
      counts.forEach((count, i) => assert.ok(count >= before[i] - 1, `${count} after ${before[i]}`));
      before = counts;
    }
  });

  it("returns counts with the exact total for models with more weights than 32 bits can count", () => {
    const entries = Array.from({ length: 96 }, (_, i) => 12_288 * (i % 3 === 0 ? 49_152 : 12_288) + i);
    const total = Math.round(0.7 * sum(entries));
    assert.equal(sum(exactCounts(entries, entries.map((_, i) => 0.6 + 0.002 * i), total)), total);
  });
});

describe("sparsityForZeros()", () => {
  it("returns a sparsity below 1 with which a solver prunes exactly the count, even if it was sent as text", () => {
    const random = uniform(5);
    const cases = [[0, 7], [7, 7], [1, 3], [49_152 * 12_288 - 1, 49_152 * 12_288], [6e8, 6e8]];
    for (let i = 0; i < 1000; i++) {
      const entries = 1 + Math.floor(random() * 2 ** (1 + 34 * random()));
      cases.push([Math.floor(random() * (entries + 1)), entries]);
    }
    for (const [count, entries] of cases) {
      const sparsity = sparsityForZeros(count, entries);
      assert.ok(sparsity >= 0 && sparsity < 1, `${count} of ${entries}`);
      const sent = Object.fromEntries(searchParamsOf({ sparsity }));
      const received = layerQuerySchema.parse(sent).sparsity!;
      assert.equal(Math.round(received * entries), count);
      const budget = new PruningBudget(received), half = Math.floor(entries / 2);
      budget.take(half, 0);
      budget.take(entries - half, 0);
      assert.equal(budget.pruned, count);
    }
  });
});
