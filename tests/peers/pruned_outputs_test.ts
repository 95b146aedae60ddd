/**
 * Tests that other programs read the checkpoints that `pare prune` writes: transformers the dense and the quantised ones, by the line of
 * Python that the command prints at its end too, and Pare's Python package the quantised ones.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { VENVS } from "../../scripts/peers/venv.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { runPare, succeeded } from "../cli/run_pare.ts";
import { assertClose } from "../support/assert_close.ts";
import { windowLogits } from "../support/logits.ts";
import { describePeers } from "./describe_peers.ts";
import type { QuantizedComparison } from "./quantized_comparison.ts";

const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));
const WINDOWS = [[1, 300, 2, 45, 1999, 8, 77, 512], [5, 4, 3, 2047, 1024, 9, 640, 11]];

/** The options of `pare prune` that say how much calibration is done. */
const CALIBRATION = ["--samples", "4", "--seqlen", "64", "--backend", "cpu"];

/** Runs the model that the printed line of Python loads. */
const CHECK = "import torch; assert model(torch.tensor([[5, 4, 3]])).logits.isfinite().all()";

/** Computes the logits of {@link WINDOWS} by Pare: one array (tokens, vocabulary) per window. */
async function pareLogits(folder: string): Promise<Float32Array[]> {
  const backend = await createCpuBackend();
  try {
    await using opened = await openModelFolder(folder, denoFileSystem);
    const logits: Float32Array[] = [];
    for (const window of WINDOWS) {
      logits.push(await windowLogits(opened.model, backend, Uint32Array.from(window)));
    }
    return logits;
  } finally {
    await backend.dispose();
  }
}

await describePeers("the output of pare prune", (peers) => {
  /**
   * Prunes a model of the fixtures into the folder `name`, and asserts that the line of Python at the end of the output loads the result.
   * Returns the path of the folder.
   */
  async function prune(model: string, name: string, ...options: readonly string[]): Promise<string> {
    const { calibration } = await writeSotuTexts(peers().folder), out = `${peers().folder}/${name}`;
    const { stderr } = await succeeded(
      runPare(
        "prune",
        MODELS + model,
        "--calibration",
        calibration,
        ...CALIBRATION,
        ...options,
        "--out",
        out,
      ),
    );
    const [, line] = /^load it in Python: (.*)$/m.exec(stderr)!;
    const args = ["-c", `${line}\n${CHECK}`], env = { HF_HUB_OFFLINE: "1" };
    const loaded = await new Deno.Command(VENVS.readers.python, { args, env }).output();
    assert.ok(loaded.success, new TextDecoder().decode(loaded.stderr));
    return out;
  }

  /** Asserts that transformers computes the same logits of the dense checkpoint in `folder` as Pare. */
  async function assertSameLogits(folder: string, logits: readonly Float32Array[]): Promise<void> {
    const answer = await peers().ask<{ logits: number[][][] }>("transformers_model", {
      folder,
      windows: WINDOWS,
    });
    for (const [i, expected] of answer.logits.entries()) assertClose(logits[i], expected.flat(), 1e-5);
  }

  /** Asserts that the Python package reads the tensors in `packed` with the bits that `dense` has. */
  async function assertSameBits(packed: string, dense: string): Promise<void> {
    const request = { packed, dense };
    const { tensors, different, zeros } = await peers().ask<
      { tensors: number; different: string[]; zeros: number }
    >("load_with_pare_llm", request);
    assert.deepEqual(different, []);
    assert.ok(tensors > 20 && zeros > 100_000, `${tensors} tensors with ${zeros} zeros`);
  }

  for (const model of ["opt-sotu", "bloom-sotu", "llama-sotu"]) {
    it(`has the same logits in transformers and in Pare if it is dense: ${model}`, async () => {
      const dense = await prune(model, `${model} dense`, "--sparsity", "0.5");
      await assertSameLogits(dense, await pareLogits(dense));
    });
  }

  for (
    const [model, options] of [["opt-sotu", []], ["llama-sotu", ["--group-size", "0"]]] as const
  ) {
    it(`has the same logits in transformers and in Pare if it is pack-quantized: ${model}`, async () => {
      const format = ["--bits", "4", ...options, "--format", "pack-quantized"];
      const quantized = await prune(model, `${model} quantized`, "--sparsity", "0.5", ...format);
      const dense = `${quantized} unpacked`;
      await succeeded(runPare("unpack", quantized, "--out", dense));
      const request = { quantized, dense, tokens: WINDOWS };
      const { layers, largest_logit, max_logit_difference } = await peers().ask<QuantizedComparison>(
        "comparisons/compare_quantized",
        request,
      );
      assert.ok(Object.keys(layers).length > 20);
      for (const [name, { equal }] of Object.entries(layers)) assert.ok(equal, name);
      assert.ok(max_logit_difference <= 1e-6 * largest_logit, `logits differ by ${max_logit_difference}`);
      await assertSameLogits(dense, await pareLogits(quantized));
      await assertSameBits(quantized, dense);
    });
  }
});
