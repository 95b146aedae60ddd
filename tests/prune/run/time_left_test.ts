/** Tests how the time of the evaluation follows from the time of a batch of the calibration. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openModel } from "../../../src/model/model.ts";
import type { RunRates } from "../../../src/prune/run/run_rates.ts";
import { evaluationSeconds } from "../../../src/prune/run/time_left.ts";
import { openOptSotu } from "../../support/opt_sotu.ts";

const checkpoint = await openOptSotu(), { spec } = openModel(checkpoint);
await checkpoint.close();

it("evaluationSeconds() counts the blocks of two models and the heads of three", () => {
  const rates = { batchSeconds: (isFirst: boolean) => isFirst ? 3 : 2 } as RunRates, batchWindows = 8;
  // A block of the model has 12·hidden² weights.
  const { blockCount, hiddenSize, vocabSize } = spec, head = vocabSize / (12 * hiddenSize);
  const steps = 2 * blockCount + 3 * head;
  const seconds = (texts: readonly number[]) => evaluationSeconds(spec, texts, rates, batchWindows);
  assert.ok(Math.abs(seconds([8]) / (3 * steps) - 1) < 1e-12);
  assert.ok(Math.abs(seconds([20, 8]) / ((1 + 5 + 3) * steps) - 1) < 1e-12);
  assert.equal(seconds([]), 0);
});
