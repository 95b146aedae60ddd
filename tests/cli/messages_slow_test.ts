/** Tests that the error of a frequent mistake says what to do, before any work. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { FAMILY_FIXTURES } from "../support/family_fixtures.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { runPare } from "./run_pare.ts";

const folder = temporaryFolder(), text = `${folder}/text.txt`, short = `${folder}/short.txt`;
await Deno.writeTextFile(text, "We the people of this great nation. ".repeat(200));
await Deno.writeTextFile(short, "We the people");
await Deno.writeTextFile(`${folder}/model.gguf`, "GGUF");
await Deno.mkdir(`${folder}/unfinished/.pare`, { recursive: true });
await Deno.writeTextFile(`${folder}/unfinished/.pare/run.json`, "{}");

/** The weight of the last block that has one entry which is NaN. */
const DAMAGED = "model.decoder.layers.3.fc2.weight";
await cp(OPT_SOTU, `${folder}/damaged`, { recursive: true });
const { tensors } = decode(await Deno.readFile(`${OPT_SOTU}/model.safetensors`));
new Uint16Array(tensors.get(DAMAGED)!.data.buffer, tensors.get(DAMAGED)!.data.byteOffset)[773] = 0x7e00;
await Deno.writeFile(`${folder}/damaged/model.safetensors`, encode(Object.fromEntries(tensors)));

/** A port at which nothing listens. */
const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 }), { port } = listener.addr;
listener.close();

const E2B = `${FAMILY_FIXTURES}gemma4_text_e2b`;
const ON_CPU = ["--backend", "cpu"];
const PRUNE = ["--out", `${folder}/out`, "--samples", "2", "--seqlen", "32", ...ON_CPU];

/** Command lines with a mistake, each with the exit code and the end of the error. */
const MISTAKES: readonly (readonly [what: string, words: readonly string[], code: number, end: RegExp])[] = [
  [
    "a folder that does not exist as the model",
    ["prune", "./facebook/opt-125m", "--calibration", text, ...PRUNE],
    2,
    /facebook\/opt-125m: there is no such file or folder$/,
  ],
  [
    "a GGUF file as the model",
    ["eval", `${folder}/model.gguf`, "--text", text, ...ON_CPU],
    2,
    /model\.gguf: is a GGUF file, which llama\.cpp runs; a model is a folder in Hugging Face's format$/,
  ],
  [
    "the folder of an unfinished run as the model",
    ["eval", `${folder}/unfinished`, "--text", text, ...ON_CPU],
    3,
    /unfinished: is the output of an unfinished run; the command of the run finishes it$/,
  ],
  [
    "the blocks of Gemma 4 E2B at a host",
    ["prune", E2B, "--calibration", text, "--server", `http://127.0.0.1:${port}`, "--remote", ...PRUNE],
    3,
    /embed_tokens_per_layer\.weight: hosts do not run the blocks of Gemma 4 E2B and E4B, .* use pare prune without --remote$/,
  ],
  [
    "a type of llama.cpp that Pare writes under a shorter name",
    ["export", OPT_SOTU, "--out", `${folder}/out`, "--format", "gguf:q4_k_m"],
    2,
    /'gguf:q4_k_m' is invalid\. .*pack-quantized\. Did you mean gguf:q4_k\?$/,
  ],
  [
    "the same in --for, in capitals and without gguf:",
    ["prune", OPT_SOTU, "--calibration", text, ...PRUNE, "--for", "Q4_K_M"],
    2,
    /'Q4_K_M' is invalid\. .* Did you mean gguf:q4_k\?$/,
  ],
  [
    "a weight with NaN in the last block",
    ["prune", `${folder}/damaged`, "--calibration", text, ...PRUNE],
    3,
    new RegExp(`^error: ${DAMAGED}: entry \\[1, 5\\] is NaN or infinite, so the checkpoint is damaged$`),
  ],
  [
    "a calibration text that is too short",
    ["prune", OPT_SOTU, "--calibration", short, ...PRUNE],
    3,
    /short\.txt: calibration text: has 4 tokens, but 2 windows of 32 need 64; lower --samples or --seqlen, or take a longer text$/,
  ],
  [
    "an evaluation text that is too short",
    ["eval", OPT_SOTU, "--text", short, "--seqlen", "32", ...ON_CPU],
    3,
    /short\.txt: .* 0 complete windows of 32; lower --seqlen, or take a longer text$/,
  ],
  [
    "an evaluation text with fewer windows than requested",
    ["eval", OPT_SOTU, "--text", text, "--seqlen", "512", "--windows", "999", ...ON_CPU],
    3,
    /complete windows of 512, but 999 were requested; lower --windows or --seqlen, or take a longer text$/,
  ],
];

describe("a mistake", () => {
  for (const [what, words, expected, end] of MISTAKES) {
    it(`is explained before any work: ${what}`, async () => {
      const { code, stdout, stderr } = await runPare(...words), lines = stderr.trimEnd().split("\n");
      assert.deepEqual([code, stdout], [expected, ""], stderr);
      assert.match(lines.at(-1)!, end);
      assert.doesNotMatch(stderr, /^pruning \d+\/|repeat the command/m);
      const attempts = 1 + lines.filter((line) => line.includes("trying again")).length;
      assert.ok(attempts <= 3, `${attempts} attempts`);
    });
  }
});
