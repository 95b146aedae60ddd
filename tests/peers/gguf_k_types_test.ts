/**
 * Tests that `pare prune --for` writes the K types of GGUF exactly: the library gguf reads the weights of the checkpoint from the file, and
 * llama.cpp computes nearly the logits that transformers computes with these weights.
 */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { LLAMA, sampleWindows, type Settings } from "../../scripts/fixtures/family_models.ts";
import { LLAMA_CPP, llamaCppSkipReason } from "../../scripts/peers/llama_cpp.ts";
import { LineProcess } from "../../scripts/processes/line_process.ts";
import { pareJson } from "../cli/run_pare.ts";
import { uniform } from "../support/random.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { describePeers, type Peers } from "./describe_peers.ts";

const SCRIPT = fileURLToPath(new URL("../../scripts/peers/llama_cpp.mjs", import.meta.url));

/** The rows of down_proj are two super-blocks, and those of the other layers are no whole super-blocks. */
const CONFIG: Settings = {
  ...{ ...LLAMA, model_type: "llama", hidden_size: 96, intermediate_size: 512, num_hidden_layers: 2 },
  tie_word_embeddings: true,
};

/** The type of the layers whose rows are no whole super-blocks, and the largest error of logits as a share of the largest logit. */
const TYPES = {
  q2_k: { fallback: "Q4_0", tolerance: 0.05 },
  q3_k: { fallback: "Q4_0", tolerance: 0.05 },
  q4_k: { fallback: "Q5_0", tolerance: 0.05 },
  q6_k: { fallback: "Q8_0", tolerance: 0.05 },
} as const;

/** Makes a random model in BF16, and rounds it for llama.cpp. Returns the folder of the result. */
async function roundedModel({ folder, ask }: Peers, type: string): Promise<string> {
  const model = `${folder}/model`, out = `${folder}/${type}`, text = `${folder}/text.txt`, next = uniform(1);
  await ask("transformers_model", { folder: model, config: CONFIG, windows: [[1, 2]], dtype: "bfloat16" });
  await Deno.writeTextFile(`${model}/tokenizer.json`, JSON.stringify(TINY_TOKENIZER));
  await Deno.writeTextFile(text, Array.from({ length: 2000 }, () => "ab "[Math.floor(3 * next())]).join(""));
  const options = [
    "--calibration",
    text,
    "--samples",
    "8",
    "--seqlen",
    "32",
    "--sparsity",
    "0",
    "--method",
    "sparsegpt",
  ];
  await pareJson("prune", model, "--out", out, ...options, "--backend", "cpu", "--for", `gguf:${type}`);
  return out;
}

const skip = await llamaCppSkipReason();

await describePeers("pare prune --for, with the K types of GGUF", (peers) => {
  let llama: LineProcess;
  before(() => {
    if (!skip) llama = new LineProcess("node", [SCRIPT, LLAMA_CPP], { env: { GGML_NO_BACKTRACE: "1" } });
  });
  after(() => llama?.stop());

  for (const [type, { fallback, tolerance }] of Object.entries(TYPES)) {
    it(`writes ${type} for rows of whole super-blocks, and ${fallback} for the others, without a difference`, async () => {
      const folder = await roundedModel(peers(), type), file = `${folder}/model.gguf`;
      const { tensors, missing } = await peers().ask<{
        tensors: Record<string, { type: string; differences: number }>;
        missing: string[];
      }>("compare_gguf", { file, folder });
      assert.deepEqual(missing, []);
      for (const [name, { differences }] of Object.entries(tensors)) assert.equal(differences, 0, name);
      const count = (wanted: string) => Object.values(tensors).filter(({ type }) => type === wanted).length;
      assert.equal(count(type.toUpperCase()), 2);
      assert.equal(count(fallback), 12 + (fallback === "Q8_0" ? 1 : 0)); // with the table of tokens

      if (skip) return console.log(`llama.cpp is not asked: ${skip}`);
      const windows = sampleWindows(24);
      const wanted = (await peers().ask<{ logits: number[][][] }>("transformers_model", { folder, windows }))
        .logits.flat(2);
      const answer = JSON.parse(await llama.ask(JSON.stringify({ file, windows })));
      assert.equal(answer.error, undefined);
      const logits: number[] = answer.logits.flat(2), largest = Math.max(...wanted.map(Math.abs));
      const error = Math.max(...wanted.map((logit, i) => Math.abs(logit - logits[i])));
      console.log(`${type}: largest error of logits ${error} of ${largest}`);
      assert.ok(error <= tolerance * largest, `${error} of ${largest}`);
    });
  }
});
