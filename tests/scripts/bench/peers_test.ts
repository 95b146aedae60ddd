/** Tests the bench that compares Pare with llm-compressor: its runs, its check of the perplexities, and its counts. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { countZeros } from "../../../scripts/bench/llm_compressor/count_zeros.ts";
import { peerSettings } from "../../../scripts/bench/llm_compressor/programs.ts";
import {
  compareWithPeer,
  requireSamePerplexity,
  type RunResult,
} from "../../../scripts/bench/llm_compressor/results.ts";
import { pruneOptions } from "../../../scripts/bench/measure/targets.ts";
import { RUNS } from "../../../scripts/bench/llm_compressor/runs.ts";
import { threadSettings } from "../../../scripts/bench/torch/thread_settings.ts";
import { declarePrune } from "../../../src/cli/prune/prune_options.ts";
import { type LayerFlags, layerQuery } from "../../../src/cli/options/layer_options.ts";

const OPT_SOTU = fileURLToPath(new URL("../../fixtures/models/opt-sotu", import.meta.url));

describe("RUNS", () => {
  it("contains only options that `pare prune` accepts", () => {
    for (const run of RUNS) {
      if (run.program !== "Pare") continue;
      const required = ["model", "--out", "out", "--calibration", "text.txt"];
      const command = declarePrune().exitOverride().parse([...required, ...pruneOptions(run.parameters)], {
        from: "user",
      });
      const query = layerQuery(command.opts<LayerFlags>());
      assert.equal(query.sparsity, run.target === "4 bit" ? 0 : 0.5);
      assert.equal(query.bits, run.target === "50 %" ? undefined : 4);
    }
  });

  it("contains runs of Pare and of llm-compressor for every target", () => {
    for (const target of ["50 %", "4 bit", "50 % + 4 bit"]) {
      const programs = new Set(RUNS.filter((run) => run.target === target).map(({ program }) => program));
      assert.deepEqual([...programs], ["Pare", "llm-compressor"], target);
    }
  });
});

describe("compareWithPeer", () => {
  const result = (run: RunResult["run"], compressSeconds: number) => ({
    run,
    compressSeconds,
    processSeconds: 2 * compressSeconds,
    peakBytes: 100 * compressSeconds,
    perplexity: 0,
    zeros: 0,
    weights: 0,
  });

  it("compares every run of Pare that names a counterpart with a run of llm-compressor for the same target", () => {
    const runs = RUNS.map((run) => result(run, run.program === "Pare" ? 2 : 7));
    for (const { run } of runs) {
      if (run.program !== "Pare" || run.counterpart === undefined) continue;
      const peer = RUNS.find((other) => other.program !== "Pare" && other.recipe === run.counterpart);
      assert.equal(peer?.target, run.target, run.title);
      const comparison = compareWithPeer({ runs }, result(run, 2));
      assert.deepEqual(comparison, { speedup: 3.5, processSpeedup: 3.5, memoryShare: 2 / 7 });
    }
  });

  it("has no value for llm-compressor itself, nor for a method that llm-compressor does not have", () => {
    const runs = RUNS.map((run) => result(run, 1));
    const without = runs.filter((entry) => compareWithPeer({ runs }, entry) === undefined).map(({ run }) =>
      run
    );
    assert.ok(without.some(({ title }) => title === "ALPS"));
    assert.ok(RUNS.every((run) => run.program === "Pare" || without.includes(run)));
  });
});

describe("peerSettings", () => {
  it("combines every setting of threads with float32 and with bfloat16", () => {
    const threads = threadSettings(2), settings = peerSettings(threads);
    for (const dtype of ["float32", "bfloat16"] as const) {
      assert.deepEqual(
        settings.filter((setting) => setting.dtype === dtype).map(({ variables }) => variables),
        threads.map(({ variables }) => variables),
      );
    }
    assert.equal(new Set(settings.map(({ title }) => title)).size, 2 * threads.length);
  });
});

describe("requireSamePerplexity", () => {
  it("accepts perplexities that differ by less than 0.1 percent", () =>
    requireSamePerplexity({ checkpoint: "dense", pare: 100.09, transformers: 100 }));

  it("rejects a larger difference, and a perplexity that is NaN", () => {
    for (const pare of [100.2, 99.8, NaN]) {
      assert.throws(
        () => requireSamePerplexity({ checkpoint: "dense", pare, transformers: 100 }),
        /dense: pare eval measures a perplexity of .*, but transformers measures 100/,
      );
    }
  });
});

it("countZeros() counts the zeros and the weights of the linear layers in all transformer blocks", async () => {
  // The model has four blocks. Each has four attention layers of 192 × 192 weights and two others of 768 × 192.
  const { zeros, weights } = await countZeros(OPT_SOTU);
  assert.equal(weights, 4 * (4 * 192 * 192 + 2 * 768 * 192));
  assert.ok(zeros < weights / 100, `${zeros} zeros in a dense model`);
});
