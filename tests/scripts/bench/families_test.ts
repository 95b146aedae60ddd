/** Tests the table of the families bench, which shows the perplexity of pruned models. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type FamilyResult, TARGETS } from "../../../scripts/bench/families/bench_family.ts";
import { familiesTable } from "../../../scripts/bench/families/table.ts";

it("familiesTable() has two rows per model, and shows a dash for figures that were not measured", () => {
  const model: FamilyResult = {
    name: "tiny",
    family: "llama",
    seqlen: 8,
    calibrationWindows: 2,
    evaluationWindows: 3,
    dense: 40.885,
    runs: [
      ...TARGETS.map((target, i) => ({ method: "sparsegpt" as const, target, perplexity: 41 + i })),
      { method: "magnitude", target: "70 %", perplexity: 123456 },
    ],
  };
  const [head, , first, second, ...others] = familiesTable({ models: [model] }).split("\n");
  assert.equal(
    head,
    "| model | family | dense | pruned by | 10 % | 20 % | 30 % | 40 % | 50 % | 60 % | 70 % | 2:4 | 4:8 |",
  );
  assert.match(first, /^\| tiny \| llama \| 40\.88 \| SparseGPT \| 41\.00 \|.* 49\.00 \|$/);
  assert.equal(second, "|  |  |  | magnitude | – | – | – | – | – | – | 1.2e+5 | – | – |");
  assert.deepEqual(others, []);
});
