/** Tests the table of the bench that fine-tunes pruned models. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { finetuningTable } from "../../../scripts/bench/python_finetuning/table.ts";

describe("the table of the fine-tuning bench", () => {
  it("shows the dense model, the pruned model and each fine-tuned model in rows", () => {
    const finetuned = [
      {
        title: "LoRA",
        perplexity: 41.5,
        zeros: 5,
        weights: 10,
        steps: 3,
        pruned: 5,
        nonzeros: 0,
        seconds: 1,
      },
    ];
    const [, , ...rows] = finetuningTable({
      model: "tiny",
      seqlen: 4,
      windows: 8,
      evaluationWindows: 2,
      versions: { torch: "2.13.0", peft: "0.21.2" },
      dense: 46.712,
      denseFinetuned: 38,
      targets: [{ target: "50 %", perplexity: 48.98, zeros: 5, weights: 10, finetuned }],
    }).split("\n");
    assert.deepEqual(rows, [
      "| dense | – | 46.71 | – | – | – |",
      "|  | Trainer of transformers | 38.00 | – | – | – |",
      "| 50 % | – | 48.98 | 50.00 % | – | – |",
      "|  | LoRA | 41.50 | 50.00 % | 3 | 0 |",
      "",
      "Libraries: torch 2.13.0, peft 0.21.2.",
    ]);
  });
});
