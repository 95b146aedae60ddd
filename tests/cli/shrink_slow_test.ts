/** Tests `pare shrink`. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describe, it } from "@std/testing/bdd";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import type { ShrinkReport } from "../../src/prune/shrink/shrink_report.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { pareJson, runPare } from "./run_pare.ts";

const MODELS = fileURLToPath(new URL("../fixtures/models/", import.meta.url));
const folder = temporaryFolder(), { calibration, evaluation } = await writeSotuTexts(folder);
const CALIBRATION = ["--calibration", calibration, "--samples", "8", "--seqlen", "128", "--backend", "cpu"];

/** The command that shrinks `model` into the folder `name`. */
function command(model: string, name: string, ...options: string[]): string[] {
  return ["shrink", `${MODELS}${model}`, "--out", `${folder}/${name}`, ...CALIBRATION, ...options];
}

describe("pare shrink", () => {
  it("removes neurons, reports sizes and perplexities, and writes a model that other commands read", async () => {
    const text = ["--text", evaluation, "--windows", "4"];
    const { out, ...report } = await pareJson<ShrinkReport & { out: string }>(
      ...command("llama-sotu", "llama", "--ffn", "0.25", ...text),
    );
    assert.deepEqual(report, JSON.parse(await Deno.readTextFile(`${out}/pare.json`)));
    assert.deepEqual(report.neurons, { dense: 512, shrunk: 384 });
    // Each of the 128 neurons of the 4 blocks has a row in two layers and a column in one, of 192 weights each.
    assert.equal(report.parameters.dense - report.parameters.shrunk, 4 * 128 * 3 * 192);
    const files = (await Array.fromAsync(Deno.readDir(out))).filter(({ name }) =>
      name.endsWith(".safetensors")
    );
    const sizes = await Promise.all(files.map(async ({ name }) => (await Deno.stat(`${out}/${name}`)).size));
    assert.equal(report.bytes.written, sizes.reduce((sum, size) => sum + size, 0));
    const [{ dense, pruned }] = report.perplexity;
    assert.ok(dense! < pruned! && pruned! < 1.3 * dense!, `${dense} became ${pruned}`);
    const evaluated = await pareJson<{ models: { texts: { perplexity: number }[] }[] }>(
      ...["eval", out, ...text, "--seqlen", "128", "--backend", "cpu"],
    );
    assert.equal(evaluated.models[0].texts[0].perplexity, pruned);
    const again = await runPare(...command("llama-sotu", "llama", "--ffn", "0.25"));
    assert.match(again.stderr, /is not empty; choose another folder, or add --overwrite/);
    const verified = await runPare("verify", out);
    assert.equal(verified.code, 0, verified.stderr);
  });

  it("removes experts and heads of a mixture, and reports the scores of the experts", async () => {
    const { out, ...report } = await pareJson<ShrinkReport & { out: string }>(
      ...command("moe-sotu", "moe", "--experts", "0.25", "--heads", "0.5"),
    );
    assert.deepEqual([report.experts, report.heads], [{ dense: 16, shrunk: 12 }, { dense: 4, shrunk: 2 }]);
    // An expert has three layers of 32 × 96 and a row of the router. A key head has rows in q, k and v and columns in o.
    const experts = 4 * (3 * 32 * 96 + 96), heads = (48 + 24 + 24 + 48) * 96;
    assert.equal(report.parameters.dense - report.parameters.shrunk, 4 * (experts + heads));
    for (const { scores, tokens, kept } of report.expert_use!) {
      assert.equal(tokens.reduce((sum, count) => sum + count), 4 * 8 * 128);
      const removed = scores.filter((_, expert) => !kept.includes(expert));
      assert.ok(kept.length === 12 && kept.every((expert) => scores[expert] >= Math.max(...removed)));
    }
    assert.equal((await runPare("verify", out)).code, 0);
  });

  it("refuses what it cannot shrink, and says what to change", async () => {
    for (
      const [words, message] of [
        [command("llama-sotu", "none"), /shrink: needs --ffn, --heads, --experts or --blocks/],
        [
          command("bloom-sotu", "none", "--blocks", "1"),
          /"bloom" cannot be shrunk; the types that can are: opt/,
        ],
        [command("opt-sotu", "none", "--heads", "0.5"), /"opt" cannot lose heads, because its configuration/],
        [
          command("opt-sotu", "none", "--experts", "0.5"),
          /"opt" cannot lose experts; the types that can are: mixtral/,
        ],
        [
          command("llama-sotu", "none", "--heads", "0.1"),
          /--heads 0.1: removes none of 6 heads, .* a multiple of 3/,
        ],
        [
          command("llama-sotu", "none", "--ffn", "0.05"),
          /--ffn 0.05: removes none of 512 neurons, .* rounded to 512/,
        ],
        [command("llama-sotu", "none", "--blocks", "4"), /has 4 blocks, so 4 cannot be dropped/],
        [command("llama-sotu", "none", "--ffn", "1"), /--ffn.*from 0 to below 1/],
      ] as const
    ) {
      const { code, stderr } = await runPare(...words);
      assert.ok(code === 2 || code === 3, stderr);
      assert.match(stderr, message);
    }
    await assert.rejects(Deno.stat(`${folder}/none`), Deno.errors.NotFound);
  });

  it("is the only command for columns of a whole model", async () => {
    const words = ["prune", `${MODELS}opt-sotu`, "--out", `${folder}/none`, ...CALIBRATION];
    const { stderr } = await runPare(...words, "--pattern", "columns", "--method", "obc");
    assert.match(stderr, /pattern columns: would change the shape of .*; use pare shrink/);
  });
});
