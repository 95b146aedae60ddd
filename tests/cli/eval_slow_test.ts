/** Tests `pare eval` on texts and several models: its output, and the errors that it reports before it measures anything. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { cp } from "node:fs/promises";
import type { ModelEvaluation } from "../../src/cli/eval/evaluate_models.ts";
import { columnNames } from "../../src/cli/eval/eval_table.ts";
import { computePerplexity } from "../../src/model/evaluation/perplexity.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import { openModel } from "../../src/model/model.ts";
import { openOptSotu, OPT_SOTU, sotuTokens } from "../support/opt_sotu.ts";
import { sotuText } from "../../scripts/fixtures/sotu_text.ts";
import { pareJson, runPare, succeeded, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const ON_CPU = ["--backend", "cpu"];

const folder = temporaryFolder();
const speech = (await sotuText("evaluation")).slice(0, 6000);
const text = `${folder}/speech.txt`;
await Deno.writeTextFile(text, speech);
const documents = `${folder}/speech.jsonl`;
await Deno.writeTextFile(
  documents,
  speech.split(". ").map((sentence) => JSON.stringify({ text: sentence })).join("\n"),
);

describe("pare eval", () => {
  it("measures several texts at once", async () => {
    const { models } = await pareJson<{ models: ModelEvaluation[] }>(...words`
      eval ${OPT_SOTU} --text ${text} --text ${documents} --seqlen 64 --windows 3 ${ON_CPU}
    `);
    assert.equal(models.length, 1);
    const [{ model, seqlen, texts }] = models;
    assert.deepEqual([model, seqlen], [OPT_SOTU, 64]);
    assert.deepEqual(texts.map((one) => [one.text, one.windows, one.tokens]), [
      [text, 3, 189],
      [documents, 3, 189],
    ]);
    assert.notEqual(
      texts[0].perplexity,
      texts[1].perplexity,
      "the documents are single sentences, without the text between them",
    );

    const checkpoint = await openOptSotu(), backend = await createCpuBackend();
    const tokens = await sotuTokens("evaluation"), options = { seqlen: 64, windows: 3 };
    const expected = await computePerplexity(openModel(checkpoint), backend, tokens, options);
    await checkpoint.close();
    await backend.dispose();
    assert.equal(texts[0].perplexity, expected.perplexity);
  });

  it("prints a table with one column per model, and progress on standard error", async () => {
    const other = `${folder}/opt-other`;
    await Deno.symlink(OPT_SOTU, other);
    const args = ["--text", text, "--windows", "1", "--seqlen", "32", ...ON_CPU];
    const { stdout, stderr } = await succeeded(runPare("eval", OPT_SOTU, "--compare", other, ...args));
    const cells = stdout.split("\n").filter((line) => line.startsWith("│"))
      .map((line) => line.split("│").slice(1, -1).map((cell) => cell.trim()));
    assert.deepEqual(cells[0], ["", "", "opt-sotu", "opt-other"]);
    assert.deepEqual(cells.map((row) => row.slice(0, 2)), [
      ["", ""],
      ["speech.txt, 1 windows of 32", "perplexity"],
      ["", "KL divergence"],
    ]);
    assert.equal(cells[2][2], "0");
    for (const [, , first, second] of cells.slice(1)) assert.equal(first, second);
    assert.match(stderr, /^opt-sotu on speech\.txt 20 %\n/);
    assert.match(stderr, /\nopt-other on speech\.txt 100 %\n$/);
  });

  it("compares the predictions of models with the same tokens only", async () => {
    const others = ["llama-sotu", "bloom-sotu", "moe-sotu"].map((name) => OPT_SOTU.replace("opt-sotu", name));
    const changed = `${folder}/opt-other-tokens`;
    await cp(OPT_SOTU, changed, { recursive: true });
    const tokenizer = JSON.parse(await Deno.readTextFile(`${OPT_SOTU}/tokenizer.json`));
    tokenizer.model.merges = [];
    await Deno.writeTextFile(`${changed}/tokenizer.json`, JSON.stringify(tokenizer));
    const models = [...others, changed].flatMap((model) => ["--compare", model]);
    const args = ["--text", text, "--windows", "1", "--seqlen", "32", ...ON_CPU];
    const { models: [first, ...compared] } = await pareJson<{ models: ModelEvaluation[] }>(
      "eval",
      OPT_SOTU,
      ...models,
      ...args,
    );
    assert.equal(first.texts[0].divergence, undefined);
    assert.deepEqual(
      compared.map(({ texts: [{ divergence }] }) => divergence !== undefined && divergence > 0),
      [
        true,
        true,
        true,
        false,
      ],
    );
    const { stdout } = await succeeded(runPare("eval", OPT_SOTU, "--compare", changed, ...args));
    assert.match(stdout, /KL divergence │ +0 │ +not comparable │/);
  });

  it("uses the window length of the first model for all models", async () => {
    const short = `${folder}/opt-short`;
    await Deno.symlink(OPT_SOTU, short);
    const { models } = await pareJson<{ models: ModelEvaluation[] }>(
      ...["eval", OPT_SOTU, "--compare", short, "--text", text, "--windows", "1", ...ON_CPU],
    );
    assert.deepEqual(models.map(({ seqlen }) => seqlen), [512, 512]);
  });
});

describe("columnNames()", () => {
  it("returns the last part of each path, or the whole path if two paths end in the same part", () => {
    assert.deepEqual(columnNames(["a/opt", "b/opt", "b/opt-2-4/"]), ["a/opt", "b/opt", "opt-2-4"]);
  });
});
