/**
 * Tests that GPTQModel loads the folders of `pare export --format gptq` with exactly the weights of the checkpoint, and
 * that ONNX Runtime and transformers.js generate the tokens of transformers from the models that `pare_llm.export_onnx`
 * makes of them.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { sotuText, writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import {
  continueWithTransformersJs,
  transformersJsSkipReason,
} from "../../scripts/peers/npm/transformers_js.ts";
import { VENVS } from "../../scripts/peers/venv.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { pareJson } from "../cli/run_pare.ts";
import { type QuantizedModel, writeProducts, writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { describePeers } from "./describe_peers.ts";

const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));
const TOKENS = [[1, 300, 2, 45, 1999, 8, 77, 512], [5, 4, 3, 2047, 1024, 9, 640, 11]];

/** The answer of `compare_gptq.py`. */
interface Comparison {
  readonly layers: Readonly<Record<string, number>>;
  readonly max_logit_difference: number;
  readonly largest_logit: number;
}

/** Rounds a model, and exports it to `FOLDER`. Also copies the files of the tokenizer. */
async function exported(
  folder: string,
  model: string,
  [bits, groupSize]: readonly [number, number],
): Promise<QuantizedModel & { readonly gptq: string }> {
  const grid = { bits, groupSize, symmetric: true }, target = `${folder}/${model} ${bits} ${groupSize}`;
  const written = await writeQuantizedModel(MODELS + model, target, () => grid);
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${MODELS}${model}/${name}`, `${written.quantized}/${name}`);
  }
  await pareJson("export", written.quantized, "--format", "gptq", "--out", `${target} gptq`);
  return { ...written, gptq: `${target} gptq` };
}

const GRIDS = [["llama-sotu", [4, 32]], ["llama-sotu", [8, 64]], ["opt-sotu", [4, 64]]] as const;

await describePeers("GPTQModel, loading a folder of pare export", (peers) => {
  for (const [model, grid] of GRIDS) {
    it(`finds every weight of ${model} with ${grid[0]} bits in groups of ${grid[1]}, without a difference`, async () => {
      const { gptq, dense, zeros } = await exported(peers().folder, model, grid);
      const answer = await peers().ask<Comparison>("comparisons/compare_gptq", {
        folder: gptq,
        dense,
        tokens: TOKENS,
      });
      assert.deepEqual(Object.keys(answer.layers).toSorted(), Object.keys(zeros).toSorted());
      for (const [name, differences] of Object.entries(answer.layers)) assert.equal(differences, 0, name);
      // The weights have the same bits, so the logits differ by the order of summation in F16 or BF16 only.
      assert.ok(answer.max_logit_difference <= 0.02 * answer.largest_logit, JSON.stringify(answer));
    });
  }
}, VENVS.gptqmodel);

const skip = await transformersJsSkipReason() ?? false;

await describePeers("ONNX Runtime, running a model of pare_llm.export_onnx", (peers) => {
  const generated = new Map<
    number,
    { readonly folder: string; readonly prompt: number[]; readonly tokens: number[] }
  >();
  for (const [bits, groupSize] of [[4, 32], [8, 64]]) {
    it(`generates the tokens of transformers: ${bits} bits in groups of ${groupSize}`, async () => {
      const model = `${MODELS}llama-sotu`,
        out = `${peers().folder}/rounded ${bits}`,
        dense = `${out} products`;
      const { calibration } = await writeSotuTexts(peers().folder);
      await pareJson(
        ...["prune", model, "--out", out, "--calibration", calibration, "--samples", "8", "--seqlen", "128"],
        ...["--sparsity", "0", "--method", "sparsegpt", "--for", "gptq", "--bits", String(bits)],
        ...["--group-size", String(groupSize), "--backend", "cpu"],
      );
      await writeProducts(out, dense); // ONNX Runtime has the scales in F32, so the products are not rounded to BF16
      const tokenizer = await loadTokenizer(model, denoFileSystem);
      const prompt = [...encodeText(tokenizer, (await sotuText("evaluation")).slice(0, 200), "txt")];
      const answer = await peers().ask<{ onnx: number[]; transformers: number[] }>("onnx_tokens", {
        ...{ folder: out, dense, out: `${out} onnx`, prompt, count: 32 },
      });
      assert.ok(new Set(answer.transformers).size > 8, String(answer.transformers));
      assert.deepEqual(answer.onnx, answer.transformers);
      generated.set(bits, { folder: `${out} onnx`, prompt, tokens: answer.transformers });
    });

    it(`generates the same tokens in transformers.js: ${bits} bits`, { skip }, async () => {
      const { folder, prompt, tokens } = generated.get(bits)!;
      assert.deepEqual(await continueWithTransformersJs(folder, prompt, tokens.length), tokens);
    });
  }
}, VENVS.onnx);
