/**
 * Tests that `pare prune --for` writes the K types of GGUF exactly: the library gguf reads the weights of a run
 * that writes a checkpoint from the file, and llama.cpp computes nearly the likelihood that transformers computes with these weights.
 */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { sotuText, writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { LlamaCpp, llamaCppSkipReason } from "../../scripts/peers/npm/llama_cpp.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { words } from "../cli/run_pare.ts";
import { copyInFloat32, type KType, roundTwice } from "../support/gguf_runs.ts";
import { logLikelihood } from "../support/log_likelihood.ts";
import { describePeers } from "./describe_peers.ts";

/** A trained model. The rows of down_proj are two super-blocks, and the other layers have no whole ones. */
const MODEL = fileURLToPath(new URL("../fixtures/models/llama-sotu", import.meta.url));

/** The types with those of the layers whose rows are not whole super-blocks. */
const TYPES: Readonly<Record<KType, string>> = { q2_k: "Q4_0", q3_k: "Q4_0", q4_k: "Q5_0", q6_k: "Q8_0" };

const skip = await llamaCppSkipReason();

await describePeers("pare prune --for, with the K types of GGUF", (peers) => {
  let llama: LlamaCpp | undefined;
  before(() => {
    if (!skip) llama = new LlamaCpp();
  });
  after(() => llama?.stop());

  for (const [type, fallback] of Object.entries(TYPES) as [KType, string][]) {
    it(`writes ${type} for rows of whole super-blocks, and ${fallback} for the others, without a difference`, async () => {
      const { folder: own } = peers(), { calibration } = await writeSotuTexts(`${own}/text`);
      await copyInFloat32(MODEL, `${own}/${type} model`);
      const options = [
        "--calibration",
        calibration,
        ...words`--samples 8 --seqlen 64 --sparsity 0 --backend cpu --preset fast`,
      ];
      const { gguf, dense: folder } = await roundTwice(
        `${own}/${type} model`,
        `${own}/${type}`,
        type,
        "down_proj",
        options,
      );
      const file = `${gguf}/model.gguf`;
      const { tensors, missing } = await peers().ask<{
        tensors: Record<string, { type: string; differences: number }>;
        missing: string[];
      }>("comparisons/compare_gguf", { file, folder });
      assert.deepEqual(missing, []);
      for (const [name, { differences }] of Object.entries(tensors)) assert.equal(differences, 0, name);
      const count = (wanted: string) => Object.values(tensors).filter(({ type }) => type === wanted).length;
      assert.equal(count(type.toUpperCase()), 4);
      assert.equal(count(fallback), 24 + (fallback === "Q8_0" ? 1 : 0)); // with the table of tokens

      if (!llama) return console.log(`llama.cpp is not asked: ${skip}`);
      const tokens = [
        ...encodeText(
          await loadTokenizer(MODEL, denoFileSystem),
          (await sotuText("evaluation")).slice(0, 400),
          "txt",
        ),
      ];
      const request = { folder, windows: [tokens] };
      const { logits } = await peers().ask<{ logits: number[][][] }>("transformers_model", request);
      const answer = await llama.ask({ file, windows: [tokens] });
      const [wanted, found] = [logits[0], answer.logits[0]].map((each) => logLikelihood(tokens, each));
      console.log(`${type}: ${wanted} by transformers, ${found} by llama.cpp`);
      // llama.cpp rounds the inputs of K types to 8 bits, with one factor for 256 of them.
      assert.ok(Math.abs(found - wanted) <= 1e-2, `${found} beside ${wanted}`);
    });
  }
});
