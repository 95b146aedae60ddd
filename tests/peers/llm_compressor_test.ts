/**
 * Compares models that Pare pruned with models that llm-compressor pruned. Both programs run SparseGPT on the same windows.
 * llm-compressor has a virtual environment of its own, which `deno task venv llm-compressor` makes.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fixtureModel } from "../../scripts/fixtures/trained_models.ts";
import {
  parePerplexities,
  peerSettings,
  runLlmCompressor,
  runPare,
  writeWindows,
} from "../../scripts/bench/llm_compressor/programs.ts";
import { RUNS } from "../../scripts/bench/llm_compressor/runs.ts";
import { countZeros } from "../../scripts/bench/llm_compressor/count_zeros.ts";
import { threadSettings } from "../../scripts/bench/torch/thread_settings.ts";
import { VENVS } from "../../scripts/peers/venv.ts";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { describePeers } from "./describe_peers.ts";

/** The largest accepted difference of the perplexities, relative to that of llm-compressor. */
const TOLERANCE = 0.005;

const [ONE_THREAD] = peerSettings(threadSettings(1));
const ours = RUNS.find((run) => run.program === "Pare" && run.title === "SparseGPT");
const theirs = RUNS.find((run) => run.program === "llm-compressor" && run.recipe === "sparsegpt");

await describePeers("SparseGPT, compared with llm-compressor", (peers) => {
  it("prunes half of opt-sotu to a perplexity within 0.5 % of that of llm-compressor", async () => {
    assert.ok(ours?.program === "Pare" && theirs?.program === "llm-compressor");
    const { folder, seqlen, calibrationWindows: samples, evaluationWindows: windows, ...model } =
      fixtureModel("opt-sotu");
    const scratch = peers().folder, windowsFile = `${scratch}/windows.json`;
    const texts = await model.textFiles(scratch), { calibration } = await model.tokens();
    const chosen = calibrationWindows(calibration, { windows: samples, seqlen });
    await writeWindows(windowsFile, chosen);
    const data = { folder, text: texts.calibration, samples, seqlen, windowsFile };
    const libraries = ["--backend", "cpu", "--products", "own", "--precision", "float32"];
    await runPare(ours, data, `${scratch}/pare`, libraries);
    await runLlmCompressor(theirs, data, `${scratch}/llm-compressor`, ONE_THREAD);

    const pruned = [`${scratch}/pare`, `${scratch}/llm-compressor`];
    const options = { seqlen, windows, backend: "cpu" } as const;
    const [dense, pare, peer] = await parePerplexities([folder, ...pruned], texts.evaluation, options);
    assert.ok(Math.abs(pare / peer - 1) < TOLERANCE, `${pare} by Pare, ${peer} by llm-compressor`);
    assert.ok(pare > 1.01 * dense, `${pare} after pruning, ${dense} before`);
    for (const path of pruned) {
      const { zeros, weights } = await countZeros(path);
      assert.ok(Math.abs(zeros / weights - 0.5) < 0.001, `${path}: ${zeros} of ${weights} weights are 0`);
    }
  });
}, VENVS["llm-compressor"]);
