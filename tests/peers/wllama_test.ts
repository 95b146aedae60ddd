/**
 * Tests that wllama, the build of llama.cpp for browsers, runs the GGUF files of `pare export` in a page and writes the
 * tokens of `pare generate`. `deno task venv llama-cpp` installs wllama. The page and all its files come from this machine.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import type { Browser } from "playwright-core";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { WLLAMA, wllamaSkipReason } from "../../scripts/peers/npm/llama_cpp.ts";
import type { GeneratedText } from "../../src/cli/generate.ts";
import { copyInFloat32 } from "../support/gguf_runs.ts";
import { pareJson } from "../cli/run_pare.ts";
import { browserSkipReason, openPage, startBrowser, waitFor } from "../support/browser.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const MODEL = fileURLToPath(new URL("../fixtures/models/llama-sotu", import.meta.url));
const PROMPT = "My fellow citizens, the state of the Union", TOKENS = 32;

const PAGE = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>A model of Pare</title>
<h1>A model of Pare in this page</h1>
<p id="text">The model is being loaded.</p>
<script type="module">
import { Wllama } from "/wllama/index.js";
const wllama = new Wllama({ default: "/wllama/wasm/wllama.wasm" });
await wllama.loadModelFromUrl("/model.gguf", { n_ctx: 256, n_threads: 1 });
const prompt = ${JSON.stringify(PROMPT)};
globalThis.answer = await wllama.createCompletion({ prompt, max_tokens: ${TOKENS}, temperature: 0, logprobs: 1 });
document.querySelector("#text").textContent = prompt + answer.choices[0].text;
</script>
`;

/** Serves the page, the files of wllama and the model `file` at a free port of this machine. */
function servePage(file: string): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async ({ url }) => {
    const { pathname } = new URL(url),
      reply = (body: BodyInit, type: string) => new Response(body, { headers: { "Content-Type": type } });
    if (pathname === "/") return reply(PAGE, "text/html");
    if (pathname === "/model.gguf") return reply(await Deno.readFile(file), "application/octet-stream");
    if (!pathname.startsWith("/wllama/")) return new Response(undefined, { status: 404 });
    const type = pathname.endsWith(".wasm") ? "application/wasm" : "text/javascript";
    return reply(await Deno.readFile(WLLAMA + pathname.slice("/wllama".length)), type);
  });
}

/** The part of an answer of llama.cpp's server that is compared. */
interface Choice {
  readonly text: string;
  readonly logprobs: { readonly content: readonly { readonly id: number }[] };
}

const skip = await wllamaSkipReason() ?? browserSkipReason();

describe("wllama, running a file of pare export in a page", { skip: skip ?? false }, () => {
  const folder = temporaryFolder();
  let browser: Browser;
  before(async () => {
    browser = await startBrowser();
  });
  after(() => browser?.close());

  /** Asserts that a page that runs `file` writes the tokens that `pare generate` writes with the model in `folder`. */
  async function compare(file: string, folder: string): Promise<void> {
    await using server = servePage(file);
    const url = `http://127.0.0.1:${server.addr.port}`;
    await using opened = await openPage(browser, url);
    await waitFor(opened.page, "globalThis.answer !== undefined", 120_000);
    const [{ text, logprobs }] = await opened.page.evaluate<Choice[]>("answer.choices");
    const wanted = await pareJson<GeneratedText>("generate", folder, PROMPT, "--tokens", String(TOKENS));
    assert.deepEqual(logprobs.content.map(({ id }) => id), wanted.tokens);
    assert.equal(text, wanted.text);
    assert.equal(await opened.page.textContent("#text"), PROMPT + wanted.text);
    assert.deepEqual(opened.origins(), [url]);
    assert.deepEqual(await opened.errors(), []);
  }

  it("writes the tokens of pare generate from F16", async () => {
    const file = `${folder}/f16.gguf`;
    await pareJson("export", MODEL, "--format", "gguf:f16", "--out", file);
    await compare(file, MODEL);
  });

  it("writes the tokens of pare generate from Q8_0", async () => {
    const { calibration } = await writeSotuTexts(`${folder}/text`), out = `${folder}/rounded`;
    const options = ["--calibration", calibration, "--samples", "8", "--seqlen", "64", "--sparsity", "0"];
    const packed = [
      "--bits",
      "8",
      "--group-size",
      "32",
      "--symmetric",
      "--scale-dtype",
      "F16",
      "--format",
      "pack-quantized",
    ];
    await copyInFloat32(MODEL, `${folder}/model`);
    await pareJson(
      "prune",
      `${folder}/model`,
      "--out",
      out,
      ...options,
      "--preset",
      "fast",
      "--backend",
      "cpu",
      ...packed,
    );
    await pareJson("export", out, "--format", "gguf:q8_0", "--out", `${folder}/q8_0.gguf`);
    await compare(`${folder}/q8_0.gguf`, out);
  });
});
