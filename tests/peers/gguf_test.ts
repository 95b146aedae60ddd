/**
 * Tests that the library gguf reads from the files of `pare export` exactly the weights of the checkpoint, and that
 * llama.cpp computes the logits that transformers computes. `deno task venv` and `deno task venv llama-cpp` install
 * them.
 */

import { after, before, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { GGUF_MODELS, sampleWindows, type Settings } from "../../scripts/fixtures/family_models.ts";
import { sotuText } from "../../scripts/fixtures/sotu_text.ts";
import { LlamaCpp, llamaCppSkipReason } from "../../scripts/peers/npm/llama_cpp.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { pareJson } from "../cli/run_pare.ts";
import { logLikelihood } from "../support/log_likelihood.ts";
import { writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { describePeers, type Peers } from "./describe_peers.ts";

const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));

/** The answer of `compare_gguf.py`. */
interface Comparison {
  readonly tensors: Readonly<Record<string, { readonly type: string; readonly differences: number }>>;
  readonly missing: readonly string[];
}

/** Counts the tensors of each type. @throws if a tensor differs from the checkpoint or is missing */
function typesOf({ tensors, missing }: Comparison): Record<string, number> {
  assert.deepEqual(missing, []);
  for (const [name, { differences }] of Object.entries(tensors)) assert.equal(differences, 0, name);
  const types = Map.groupBy(Object.values(tensors), ({ type }) => type);
  return Object.fromEntries([...types].map(([type, members]) => [type, members.length]));
}

const WINDOWS = sampleWindows(24);

/** Returns the path of a new folder, whose name must not make llama.cpp look for the tokens of Phi-3. */
function newFolder({ folder }: Peers): string {
  return `${folder}/phi3-${crypto.randomUUID()}`;
}

/** Makes a random model with a tokenizer. Returns its logits, (windows, tokens, vocabulary). */
async function makeModel(peers: Peers, folder: string, config: Settings): Promise<number[]> {
  const { logits } = await peers.ask<{ logits: number[][][] }>("transformers_model", {
    folder,
    config,
    windows: WINDOWS,
  });
  await Deno.writeTextFile(`${folder}/tokenizer.json`, JSON.stringify(TINY_TOKENIZER));
  return logits.flat(2);
}

await describePeers("the library gguf, reading a file of pare export", (peers) => {
  /** Exports the model in a folder and compares the file with the model. */
  async function compare(
    folder: string,
    type: string,
    ...options: string[]
  ): Promise<Record<string, number>> {
    const file = `${peers().folder}/${type}.gguf`;
    await pareJson("export", folder, "--format", `gguf:${type}`, "--out", file, ...options);
    return typesOf(
      await peers().ask("comparisons/compare_gguf", { file, folder, round: options.includes("nearest") }),
    );
  }

  for (const [i, [title, config]] of Object.entries(GGUF_MODELS).entries()) {
    // How a tensor is rounded does not depend on the family, so each further model is rounded to one type.
    const types = ["q4_0", "q5_0", "q8_0", "bf16"].filter((_, t) => i === 0 || i % 4 === t);
    it(`finds every weight in F32, and what the library rounds itself to ${types}: ${title}`, async () => {
      const folder = newFolder(peers());
      await makeModel(peers(), folder, config);
      assert.deepEqual(Object.keys(await compare(folder, "f32")), ["F32"]);
      for (const type of types) await compare(folder, type, "--round", "nearest");
    });
  }

  for (
    const [bits, type, model] of [[4, "q4_0", "llama-sotu"], [8, "q8_0", "llama-sotu"], [
      4,
      "q5_0",
      "bloom-sotu",
    ]] as const
  ) {
    it(`finds the codes of ${model} with ${bits} bits in ${type}, without a difference`, async () => {
      const grid = { bits, groupSize: 32, symmetric: true };
      const { quantized } = await writeQuantizedModel(
        MODELS + model,
        `${peers().folder}/${type}`,
        () => grid,
      );
      await Deno.copyFile(`${MODELS}${model}/tokenizer.json`, `${quantized}/tokenizer.json`);
      const types = await compare(quantized, type);
      assert.equal(types[type.toUpperCase()], (model === "bloom-sotu" ? 16 : 28) + (type === "q8_0" ? 1 : 0));
    });
  }
});

/** The largest error of logits in F32, as a share of the largest logit. llama.cpp reads GELU from a table in F16. */
const TOLERANCE = { silu: 2e-5, gelu: 2e-3 } as const;

/** Matches the families whose activation is GELU. */
const GELU = /^(gemma|starcoder2|gpt|bloom|falcon|phi$)/;

const skip = await llamaCppSkipReason();

await describePeers("llama.cpp, loading a file of pare export", (peers) => {
  if (skip) return void it(`is skipped: ${skip}`, { skip }, () => {});
  let llama: LlamaCpp;
  before(() => {
    llama = new LlamaCpp();
  });
  after(() => llama.stop());

  /** Exports a model and runs it. */
  async function run(folder: string, type: string, windows: number[][], ...texts: string[]) {
    const file = `${peers().folder}/${type}.gguf`;
    await pareJson("export", folder, "--format", `gguf:${type}`, "--out", file);
    return await llama.ask({ file, windows, texts });
  }

  /** Asserts that llama.cpp computes the logits `wanted` in F32, (windows, tokens, vocabulary). */
  async function assertLogits(folder: string, wanted: readonly number[], tolerance: number) {
    const logits = (await run(folder, "f32", WINDOWS)).logits.flat(2);
    const largest = wanted.reduce((most, logit) => Math.max(most, Math.abs(logit)), 0);
    const error = wanted.reduce((most, logit, i) => Math.max(most, Math.abs(logit - logits[i])), 0);
    assert.equal(logits.length, wanted.length);
    assert.ok(error <= tolerance * largest, `${error} of ${largest}`);
  }

  for (const [title, config] of Object.entries(GGUF_MODELS)) {
    it(`computes the logits of transformers: ${title}`, async () => {
      const folder = newFolder(peers()), wanted = await makeModel(peers(), folder, config);
      await assertLogits(
        folder,
        wanted,
        TOLERANCE[GELU.test(String(config.model_type)) ? "gelu" : "silu"],
      );
    });
  }

  for (
    const [title, ...options] of [
      ["llama", "--heads", "0.5"],
      ["qwen3_moe", "--heads", "0.5", "--experts", "0.4"],
    ]
  ) {
    it(`computes the logits of transformers after pare shrink ${options.join(" ")}: ${title}`, async () => {
      const dense = newFolder(peers()), folder = newFolder(peers()), text = `${dense}/text.txt`;
      await makeModel(peers(), dense, GGUF_MODELS[title]);
      await Deno.writeTextFile(text, "ab a bab aab b ba ".repeat(40));
      const windows = ["--calibration", text, "--samples", "8", "--seqlen", "16", "--backend", "cpu"];
      await pareJson("shrink", dense, "--out", folder, ...options, ...windows);
      const request = { folder, windows: WINDOWS };
      const { logits } = await peers().ask<{ logits: number[][][] }>("transformers_model", request);
      await assertLogits(folder, logits.flat(2), TOLERANCE.silu);
    });
  }

  for (const model of ["llama-sotu", "bloom-sotu", "moe-sotu"]) {
    it(`gives a text the tokens and the likelihood that transformers gives it: ${model}`, async () => {
      const text = (await sotuText("evaluation")).slice(0, 400), folder = MODELS + model;
      const tokens = [...encodeText(await loadTokenizer(folder, denoFileSystem), text, "txt")];
      const wanted = await peers().ask<{ logits: number[][][] }>("transformers_model", {
        folder,
        windows: [tokens],
      });
      const dense = logLikelihood(tokens, wanted.logits[0]);
      const inFile = await run(folder, "f16", [tokens], text);
      assert.deepEqual(inFile.tokens, [tokens]);
      const f16 = logLikelihood(tokens, inFile.logits[0]);
      console.log(`${model}, ${tokens.length} tokens: ${dense} by transformers, ${f16} by llama.cpp in F16`);
      assert.ok(Math.abs(f16 - dense) <= 5e-4, `${f16} beside ${dense}`);

      // llama.cpp rounds the inputs of layers in Q4_0 to 8 bits.
      const grid = { bits: 4, groupSize: 32, symmetric: true };
      const written = await writeQuantizedModel(folder, `${peers().folder}/${model}`, () => grid);
      await Deno.copyFile(`${folder}/tokenizer.json`, `${written.quantized}/tokenizer.json`);
      const request = { folder: written.dense, windows: [tokens] };
      const rounded = logLikelihood(
        tokens,
        (await peers().ask<typeof wanted>("transformers_model", request)).logits[0],
      );
      const q4 = logLikelihood(tokens, (await run(written.quantized, "q4_0", [tokens])).logits[0]);
      console.log(`${model} with 4 bits: ${rounded} by transformers, ${q4} by llama.cpp in Q4_0`);
      assert.ok(Math.abs(q4 - rounded) <= 5e-3, `${q4} beside ${rounded}`);
    });
  }
});
