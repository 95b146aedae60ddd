/** Tests `pare prune` and `pare eval` on a trained model: their output, the files they write, and their failures. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { divergenceText } from "../../src/prune/report/format.ts";
import { basename } from "node:path";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { type RunReport, runReportSchema } from "../../src/prune/report/run_report.ts";
import { phasesText, type RunSeconds } from "../../src/prune/report/run_seconds.ts";
import { secondsText } from "../../src/prune/report/format.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { pareJson, runPare, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

interface PruneResult {
  readonly layers: readonly {
    readonly name: string;
    readonly loss: number;
    readonly relative_error: number;
    readonly zeros: number;
    readonly rows: number;
    readonly cols: number;
  }[];
  readonly seconds: RunSeconds;
  readonly perplexity: RunReport["perplexity"];
  readonly out: string;
}

interface EvalResult {
  readonly perplexity: number;
  readonly windows: number;
  readonly tokens: number;
  readonly divergence?: number;
}

const folder = temporaryFolder();
const texts = await writeSotuTexts(folder);

/** The arguments that prune the fixture with few windows. `options` override these arguments. */
function pruneArgs(out: string, ...options: readonly string[]): string[] {
  const windows = ["--method", "sparsegpt", "--samples", "4", "--seqlen", "64", "--backend", "cpu"];
  return ["prune", OPT_SOTU, "--out", out, "--calibration", texts.calibration, ...windows, ...options];
}

/** Measures the last model of a command, which is `model` without further arguments. */
async function evaluate(model: string, windows: number, ...further: readonly string[]): Promise<EvalResult> {
  const options = ["--seqlen", "256", "--windows", String(windows), "--backend", "cpu"];
  const { models } = await pareJson<{ models: { texts: EvalResult[] }[] }>(
    ...words`eval ${model} --text ${texts.evaluation} ${options} ${further}`,
  );
  return models.at(-1)!.texts[0];
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

describe("pare prune, then eval", () => {
  it("prints the loss and the relative error of every layer, in the order of the model", async () => {
    const { layers, seconds } = await pareJson<PruneResult>(...pruneArgs(`${folder}/reported`));
    assert.equal(layers.length, 24);
    assert.equal(layers[0].name, "model.decoder.layers.0.self_attn.q_proj.weight");
    assert.deepEqual([layers[23].rows, layers[23].cols], [192, 768]);
    for (const { loss, relative_error } of layers) {
      assert.ok(loss > 0);
      assert.ok(relative_error > 0 && relative_error < 1);
    }
    assert.ok(seconds.total > 0);
  });

  it("prints the totals as lines of text without --json, and progress on standard error", async () => {
    const { code, stdout, stderr } = await runPare(...pruneArgs(`${folder}/lines`));
    assert.equal(code, 0);
    const { seconds } = JSON.parse(await Deno.readTextFile(`${folder}/lines/pare.json`));
    const time = `${secondsText(seconds.total)} (${phasesText(seconds)})`;
    assert.equal(stdout, `pruned 884736 of 1769472 weights in 24 layers, ${time}\nwrote ${folder}/lines\n`);
    // Less than a tenth of a second is printed in milliseconds, which a fast machine needs for some phases.
    assert.match(time, /\(load [\d.]+ m?s, calibration [\d.]+ m?s, layers [\d.]+ m?s, write [\d.]+ m?s\)$/);
    assert.match(
      stderr,
      /^pruning 24 layers of [^\n]+\nno window is held out: [^\n]+\nwarning: [^\n]+\npruning 0\/24\npruning 1\/24 .*q_proj/,
    );
    assert.ok(!stderr.includes("\x1b"), "escape codes although standard error is not a terminal");
  });

  it("prints the numbers of windows and predicted tokens of a text", async () => {
    const { windows, tokens } = await evaluate(OPT_SOTU, 2);
    assert.deepEqual([windows, tokens], [2, 510]);
  });

  it("prints and reports the same perplexities before and after pruning as eval measures, and the same times", async () => {
    const out = `${folder}/measured`;
    const command = pruneArgs(out, "--seqlen", "256", "--text", texts.evaluation, "--windows", "2");
    const printed = await pareJson<PruneResult>(...command);
    const run = runReportSchema.parse(JSON.parse(await Deno.readTextFile(`${out}/pare.json`)));
    assert.deepEqual([printed.perplexity, printed.seconds], [run.perplexity, run.seconds]);
    const { total, ...phases } = run.seconds;
    assert.ok(phases.evaluation > 0 && phases.load > 0, JSON.stringify(phases));
    assert.ok(Math.abs(total - Object.values(phases).reduce((sum, seconds) => sum + seconds, 0)) < 1e-9);
    const { dense, pruned, divergence } = run.perplexity[0];
    assert.match(
      (await runPare(...command)).stdout,
      new RegExp(
        `\\nperplexity on .* \\(2 windows of 256\\): ${dense!.toFixed(3)} before, ${
          pruned!.toFixed(3)
        } after; KL divergence ${divergenceText(divergence!)}\\n`,
      ),
    );
    assert.deepEqual(run.perplexity, [{
      text: basename(texts.evaluation),
      seqlen: 256,
      windows: 2,
      dense: (await evaluate(OPT_SOTU, 2)).perplexity,
      pruned: (await evaluate(out, 2)).perplexity,
      divergence: (await evaluate(OPT_SOTU, 2, "--compare", out)).divergence,
    }]);
  });

  it("chooses other calibration windows with a seed, and the same windows with the same seed", async () => {
    const losses: number[][] = [];
    for (const seed of [[], ["--seed", "1"], ["--seed", "1"]]) {
      const args = pruneArgs(`${folder}/seeded`, "--overwrite", "--method", "magnitude", ...seed);
      losses.push((await pareJson<PruneResult>(...args)).layers.map(({ loss }) => loss));
    }
    assert.notDeepEqual(losses[0], losses[1]);
    assert.deepEqual(losses[1], losses[2]);
  });
});

describe("pare prune with invalid input", () => {
  it("refuses an output folder that is not empty, and does not change it", async () => {
    const out = `${folder}/occupied`;
    await Deno.mkdir(out);
    await Deno.writeTextFile(`${out}/notes.txt`, "mine");
    const { code, stdout, stderr } = await runPare(...pruneArgs(out));
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /^error: option --out .*occupied: is not empty.*add --overwrite/);
    assert.deepEqual(await Array.fromAsync(Deno.readDir(out), ({ name }) => name), ["notes.txt"]);
  });

  for (
    const [what, options, expected, message] of [
      [
        "windows longer than the model's positions",
        ["--seqlen", "1024"],
        2,
        /option --seqlen 1024: .*positions for 512/,
      ],
    ] as const
  ) {
    it(`refuses ${what}, and removes the output folder`, async () => {
      const out = `${folder}/failed`;
      const { code, stderr } = await runPare(...pruneArgs(out, ...options));
      assert.equal(code, expected, stderr);
      assert.match(stderr.trimEnd().split("\n").at(-1)!, /^error: /);
      assert.match(stderr, message);
      assert.equal(await exists(out), false);
    });
  }

  it("prints the stack trace of a failure only with --debug", async () => {
    const args = ["eval", `${folder}/nothing`, "--text", texts.evaluation];
    assert.equal(
      (await runPare(...args)).stderr,
      `error: model ${folder}/nothing: there is no such file or folder\n`,
    );
    assert.match((await runPare(...args, "--debug")).stderr, /input_file\.ts:\d+/);
  });
});
