/**
 * Prunes small OPT, LLaMA and BLOOM models, which were trained on State of the Union addresses, to 2:4. SparseGPT
 * must raise the perplexity less than magnitude pruning does.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { readTensor } from "../../src/model/checkpoint/tensor_source.ts";
import { openLocalHost } from "../support/local_host.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { type Model, openModel } from "../../src/model/model.ts";
import { pruneInMemory } from "../../src/prune/run/in_memory.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import { openFixture } from "../support/fixture_models.ts";
import { sotuTokens } from "../support/opt_sotu.ts";

const calibration = calibrationWindows(await sotuTokens("calibration"), { windows: 8, seqlen: 256 });
const evaluation = await sotuTokens("evaluation");

const PARAMETERS = { pattern: "2:4", blocksize: 128, damping: 0.01, error: false } as const;

/** Asserts that every four neighbouring weights of every linear layer contain at least two zeros. */
async function assertTwoOfFour({ spec, weights }: Model): Promise<void> {
  for (let block = 0; block < spec.blockCount; block++) {
    for (const { name } of spec.block(block).groups.flat()) {
      const { dtype, data } = await readTensor(weights, `${spec.block(block).prefix(block)}${name}.weight`);
      assert.ok(dtype === "F16" || dtype === "BF16");
      const values = bytesToFloats(data, dtype);
      for (let i = 0; i < values.length; i += 4) {
        const zeros = values.subarray(i, i + 4).filter((value) => value === 0).length;
        assert.ok(zeros >= 2, `${name} of block ${block}: ${zeros} zeros at ${i}`);
      }
    }
  }
}

const host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());

describe("pruneInMemory to 2:4", () => {
  for (const name of ["opt-sotu", "llama-sotu", "bloom-sotu"] as const) {
    it(`raises the perplexity of ${name} less with SparseGPT than with magnitude pruning`, async () => {
      const { backend, pruner } = host;
      const checkpoint = await openFixture(name);
      const dense = openModel(checkpoint);
      const measure = async (model: Model) =>
        (await computePerplexity(model, backend, evaluation, { seqlen: 256, windows: 8 })).perplexity;
      const measured: Record<string, number> = { dense: await measure(dense) };
      for (const method of ["sparsegpt", "magnitude"] as const) {
        const options = { pruner, backend, windows: calibration };
        const pruned = await pruneInMemory(dense, { ...PARAMETERS, method }, options);
        await assertTwoOfFour(pruned);
        measured[method] = await measure(pruned);
      }
      const report = JSON.stringify(measured);
      assert.ok(measured.dense < measured.sparsegpt && measured.sparsegpt < measured.magnitude, report);
      assert.ok(measured.sparsegpt < 1.6 * measured.dense, report);
      await checkpoint.close();
      assert.equal(backend.counters.bytesLive, 0);
    });
  }
});
