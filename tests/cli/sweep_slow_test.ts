/**
 * Tests `pare sweep`. It must measure the same perplexities as `prune` and `eval`, and report
 * each point (one method at one sparsity or pattern) as soon as it is measured.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { makeEmptyOpt } from "../../scripts/fixtures/make_random_opt.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import type { ModelEvaluation } from "../../src/cli/eval/evaluate_models.ts";
import type { Sweep } from "../../src/cli/sweep/results.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { actDuring, pareJson, runPare, startPare, succeeded, words } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const folder = temporaryFolder();
const texts = await writeSotuTexts(folder);

function sweepArgs(...options: readonly string[]): string[] {
  const files = ["--calibration", texts.calibration, "--text", texts.evaluation];
  return words`sweep ${OPT_SOTU} ${files} --seqlen 64 --samples 4 --windows 4 --backend cpu ${options}`;
}

/** Runs `pare prune` with `options`, calibrated as in `sweepArgs`. Returns the perplexity of the result by `pare eval`. */
async function prunedPerplexity(name: string, options: readonly string[]): Promise<number> {
  const out = `${folder}/${name}`, shared = ["--seqlen", "64", "--backend", "cpu"];
  const calibrate = ["--calibration", texts.calibration, "--samples", "4"];
  await pareJson("prune", OPT_SOTU, "--out", out, ...options, ...calibrate, ...shared);
  const measure = ["--text", texts.evaluation, "--windows", "4"];
  const { models } = await pareJson<{ models: ModelEvaluation[] }>("eval", out, ...measure, ...shared);
  return models[0].texts[0].perplexity;
}

describe("pare sweep", () => {
  it("measures the same perplexities as prune and eval, without writing a checkpoint", async () => {
    const csv = `${folder}/sweep.csv`, svg = `${folder}/sweep.svg`;
    const sweep = await pareJson<Sweep>(
      ...sweepArgs(
        ...["--methods", "sparsegpt,magnitude", "--sparsities", "0.5", "--patterns", "2:4"],
        ...["--csv", csv, "--svg", svg],
      ),
    );
    assert.deepEqual([sweep.model, sweep.samples, sweep.seqlen, sweep.windows], ["opt-sotu", 4, 64, 4]);
    assert.deepEqual(sweep.points.map(({ method, pattern, sparsity }) => [method, pattern, sparsity]), [
      ["sparsegpt", "unstructured", 0.5],
      ["sparsegpt", "2:4", 0.5],
      ["magnitude", "unstructured", 0.5],
      ["magnitude", "2:4", 0.5],
    ]);

    const calibrate = words`--calibration ${texts.calibration} --samples 4 --seqlen 64 --backend cpu`;
    const folders = [OPT_SOTU];
    for (const { method, pattern } of sweep.points) {
      const out = `${folder}/${method}-${pattern.replace(":", "-")}`;
      await pareJson("prune", OPT_SOTU, "--out", out, "--method", method, "--pattern", pattern, ...calibrate);
      folders.push(out);
    }
    const measure = ["--text", texts.evaluation, "--seqlen", "64", "--windows", "4", "--backend", "cpu"];
    const compare = folders.slice(1).flatMap((out) => ["--compare", out]);
    const { models } = await pareJson<{ models: ModelEvaluation[] }>(
      "eval",
      OPT_SOTU,
      ...compare,
      ...measure,
    );
    const perplexities = models.map((model) => model.texts[0].perplexity);
    assert.deepEqual([sweep.dense, ...sweep.points.map(({ perplexity }) => perplexity)], perplexities);

    const lines = (await Deno.readTextFile(csv)).trimEnd().split("\n").map((line) => line.split(","));
    assert.deepEqual(lines[0], ["method", "pattern", "sparsity", "perplexity", "seconds"]);
    assert.deepEqual(lines.slice(1).map((line) => Number(line[3])), perplexities);
    assert.match(await Deno.readTextFile(svg), /^<svg.*sparsegpt.*<\/svg>\n$/s);
  });

  for (
    const [what, options, pruned] of [
      ["the defaults", [], []],
      ["the default sparsity 0 with --bits", ["--bits", "4"], ["--bits", "4"]],
      [
        "weights that are rounded after magnitude pruning",
        ["--methods", "magnitude", "--sparsities", "0.5", "--bits", "3"],
        ["--method", "magnitude", "--sparsity", "0.5", "--bits", "3"],
      ],
      [
        "zeros that --allocate spreads over the layers",
        ["--methods", "magnitude", "--sparsities", "0.6", "--allocate", "owl"],
        ["--method", "magnitude", "--sparsity", "0.6", "--allocate", "owl"],
      ],
    ] as const
  ) {
    it(`measures what prune writes, with ${what}`, async () => {
      const { points: [point, ...others], allocate } = await pareJson<Sweep>(...sweepArgs(...options));
      assert.equal(others.length, 0);
      assert.equal(point.perplexity, await prunedPerplexity(what, pruned));
      if (options.length === 0) assert.deepEqual([point.method, point.sparsity], ["alps", 0.5]);
      assert.equal(allocate, what.includes("--allocate") ? "owl" : "uniform");
    });
  }

  it("reports each point as soon as it is measured, and a table at the end", async () => {
    const { stdout, stderr } = await succeeded(runPare(
      ...sweepArgs("--methods", "magnitude", "--sparsities", "0,0.5"),
    ));
    assert.match(stderr, /^dense [\d.]+ over 4 windows of 64\n/);
    assert.match(stderr, /\nsweeping 1\/2 magnitude 50 %\nmagnitude 50 % [\d.]+, [\d.]+ m?s\n$/);
    assert.match(stdout, /perplexity.*magnitude.*\n.*\n.*dense.*\n.*0 %.*\n.*50 %/);
    const [dense, none] = [...stdout.matchAll(/(?:dense|\b0 %) +│ +([\d.]+)/g)].map((match) => match[1]);
    assert.equal(none, dense);
  });

  it(
    "exits with 130 when it is interrupted, and keeps the measured points",
    { skip: Deno.build.os === "windows" },
    async () => {
      const csv = `${folder}/interrupted.csv`;
      const child = startPare(
        ...sweepArgs("--methods", "sparsegpt", "--sparsities", "0.1..0.9", "--samples", "32", "--csv", csv),
      );
      const isSweeping = (printed: string) => printed.includes("sweeping 1/");
      const { code, stderr } = await actDuring(child, isSweeping, () => child.kill("SIGINT"));
      assert.equal(code, 130, stderr);
      assert.match(stderr, /error: stopped by SIGINT\n$/);
      assert.match(
        await Deno.readTextFile(csv),
        /^method.*\ndense,.*\nsparsegpt,unstructured,0\.1,[\d.]+,[\d.]+\n/,
      );
    },
  );

  it("refuses layers that are too large for obc before any work, and names the layer", async () => {
    const model = `${folder}/wide`;
    await makeEmptyOpt(model, { layers: 1, hidden: 8, heads: 2, ffn: 4096, vocabulary: 2048, positions: 64 });
    const options = words`--methods magnitude,obc --sparsities 0.5 --seqlen 32 --backend cpu`;
    const files = ["--calibration", texts.calibration, "--text", texts.evaluation];
    const { code, stdout, stderr } = await runPare("sweep", model, ...files, ...options);
    assert.deepEqual([code, stdout], [2, ""]);
    assert.match(stderr, /^error: option --methods magnitude,obc: .*layers\.0\.fc2\.weight: .*at most 3072/);
  });

  for (
    const [what, args, code, message] of [
      ["a sparsity out of range", ["--sparsities", "0.5..1"], 2, /--sparsities 0\.5\.\.1: must be/],
      [
        "an allocation for a pattern that fixes the sparsity",
        ["--patterns", "2:4", "--allocate", "error"],
        2,
        /--allocate error: needs unstructured sparsity/,
      ],
      [
        "more calibration windows than the text has",
        ["--patterns", "2:4", "--samples", "9999"],
        3,
        /9999 windows of 64 need/,
      ],
    ] as const
  ) {
    it(`refuses ${what}`, async () => {
      const finished = await runPare(...sweepArgs(...args));
      assert.deepEqual([finished.code, finished.stdout], [code, ""], finished.stderr);
      assert.match(finished.stderr, message);
    });
  }
});
