/**
 * Tests the table of the allocation bench. It shows the perplexity of models that were pruned with different
 * allocations, which are rules that distribute the zeros over the layers.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { allocationTable } from "../../../scripts/bench/allocation/table.ts";

it("allocationTable() renders one row per allocation with the mean time, and a dash if a figure was not measured", () => {
  const model = {
    name: "tiny",
    dense: 40.885,
    runs: [
      { allocation: "uniform" as const, sparsity: 0.5 as const, perplexity: 41.2345, seconds: 1 },
      { allocation: "uniform" as const, sparsity: 0.7 as const, perplexity: 50, seconds: 2 },
      ...([0.5, 0.6, 0.7] as const).flatMap((sparsity) =>
        (["owl", "error"] as const).map((allocation) => ({
          allocation,
          sparsity,
          perplexity: 100 * sparsity,
          seconds: 4,
        }))
      ),
    ],
  };
  const [head, , ...rows] = allocationTable({ models: [model] }).split("\n");
  assert.equal(head, "| model | dense | allocation | 50 % | 60 % | 70 % | s per run |");
  assert.deepEqual(rows, [
    "| tiny | 40.88 | uniform | 41.23 | – | 50.00 | 1.5 |",
    "|  |  | owl | 50.00 | 60.00 | 70.00 | 4.0 |",
    "|  |  | error | 50.00 | 60.00 | 70.00 | 4.0 |",
  ]);
});
