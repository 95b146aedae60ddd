/** Tests `pare shrink`. */

import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { describe, it } from "@std/testing/bdd";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import type { RunReport } from "../../src/prune/report/run_report.ts";
import type { RunPlan } from "../../src/cli/prune/plan/plan_run.ts";
import { REPORT_FILES } from "../../src/prune/report/file_names.ts";
import type { ShrinkReport } from "../../src/prune/shrink/shrink_report.ts";
import { assertSame } from "../support/assert_same.ts";
import { FAMILY_FIXTURES } from "../support/family_fixtures.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { pareJson, runPare, succeeded, words } from "./run_pare.ts";

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
    assert.equal(report.calibration.validation_samples, 0); // held-out windows would choose nothing
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
    const again = await runPare(...command("llama-sotu", "llama", "--ffn", "0.25", ...text));
    assert.match(again.stderr, /this run is finished already; add --overwrite to shrink again/);
    const other = await runPare(...command("llama-sotu", "llama", "--ffn", "0.5", ...text));
    assert.match(other.stderr, /a finished run that differs from this one: --ffn was 0.25 and is 0.5/);
    const trained = await pareJson<ShrinkReport>(
      ...command(
        "llama-sotu",
        "trained",
        "--ffn",
        "0.25",
        "--reconstruct",
        "2",
        "--target",
        "dense",
        ...text,
      ),
    );
    assert.equal(trained.calibration.validation_samples, 1);
    assert.deepEqual(trained.blocks!.map(({ block }) => block), [0, 1, 2, 3]);
    for (const { reconstruction, targets } of trained.blocks!) {
      assert.ok(targets && reconstruction!.after! < reconstruction!.before!);
    }
    assert.deepEqual(trained.parameters, report.parameters);
    assert.ok(trained.perplexity[0].pruned! < pruned!, `${trained.perplexity[0].pruned} >= ${pruned}`);
    await succeeded(runPare("verify", out));
  });

  it("writes a page and a card, which pare report draws again, and says how to load the model and what helps", async () => {
    const text = ["--text", evaluation, "--windows", "2"];
    for (const options of [["--ffn", "0.75"], ["--blocks", "1"]]) {
      const out = `${folder}/${options.join("")}`;
      const { stderr } = await succeeded(
        runPare(...command("llama-sotu", options.join(""), ...options, ...text)),
      );
      assert.match(
        stderr,
        /^warning: [\d.]+ % fewer parameters raised the perplexity from [\d.]+ to [\d.]+ on evaluation.txt; try a smaller share/m,
      );
      assert.ok(stderr.includes(`load it in Python: `) && stderr.endsWith(`vllm serve "${out}"\n`), stderr);
      const card = await Deno.readTextFile(`${out}/README.md`),
        page = await Deno.readTextFile(`${out}/report.html`);
      for (const written of [card, page]) {
        assert.match(written, /llama-sotu, shrunk/);
        assert.match(written, /pare shrink removed [\d.]+ % of the parameters: /);
        assert.ok(
          written.includes("pare shrink llama-sotu --out FOLDER") && written.includes(options.join(" ")),
        );
      }
      await Deno.remove(`${out}/report.html`);
      await succeeded(runPare("report", out));
      assert.equal(await Deno.readTextFile(`${out}/report.html`), page);
    }
  });

  it("removes a share of all parameters with --smaller", async () => {
    const { parameters, options } = await pareJson<ShrinkReport>(
      ...command("llama-sotu", "share", "--smaller", "0.2", "--multiple", "1"),
    );
    assert.ok(
      Math.abs(1 - parameters.shrunk / parameters.dense - 0.2) < 0.001,
      `${parameters.shrunk} remain`,
    );
    assert.ok(options.ffn > 0.2);
    for (
      const [words, message] of [
        [["0.9"], /option --smaller 0.9: the neurons have only 59.9 % of the parameters/],
        [["0.2", "--heads", "0.5"], /option --smaller 0.2: removes neurons only/],
      ] as const
    ) {
      const { code, stderr } = await runPare(...command("llama-sotu", "none", "--smaller", ...words));
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    }
  });

  it("plans the files of a run, and writes nothing", async () => {
    const args = [
      ...command("llama-sotu", "planned", "--ffn", "0.25"),
      "--text",
      evaluation,
      "--windows",
      "2",
    ];
    const plan = await pareJson<RunPlan>(...args, "--plan"), { files } = plan.disk;
    await assert.rejects(Deno.stat(`${folder}/planned`), Deno.errors.NotFound);
    assert.deepEqual([plan.layers, plan.parameters.ffn, plan.samples], [4, 0.25, 8]);
    assert.deepEqual(plan.result, ["384 of 512 neurons remain in each block"]);
    assert.ok(
      plan.seconds.layers > 0 && plan.seconds.evaluation > 0 && plan.memory.process > plan.memory.device,
    );
    await succeeded(runPare(...args));
    const names = Array.from(Deno.readDirSync(`${folder}/planned`), ({ name }) => name);
    assert.deepEqual([...Object.keys(files), ...REPORT_FILES].toSorted(), names.toSorted());
    for (const [name, bytes] of Object.entries(files)) {
      const { size } = await Deno.stat(`${folder}/planned/${name}`);
      assert.ok(Math.abs(bytes / size - 1) < 0.01, `${name}: ${bytes} planned, ${size} written`);
    }
    const rounded = await runPare(...args, "--plan", "--bits", "4");
    assert.match(rounded.stderr, /option --plan: plans the smaller model only/);
  });

  it("removes experts and heads of a mixture, and reports the scores of the experts", async () => {
    const model = `${folder}/mixture`, text = `${folder}/letters.txt`;
    await Deno.mkdir(model);
    for (const name of ["config.json", "model.safetensors"]) {
      await Deno.copyFile(`${FAMILY_FIXTURES}qwen3_moe/${name}`, `${model}/${name}`);
    }
    await Deno.writeTextFile(`${model}/tokenizer.json`, JSON.stringify(TINY_TOKENIZER));
    await Deno.writeTextFile(text, "ab a bab aab b ba ".repeat(100));
    const { out, ...report } = await pareJson<ShrinkReport & { out: string }>(...words`
      shrink ${model} --out ${folder}/fewer --experts 0.4 --heads 0.5 --calibration ${text}
      --samples 8 --seqlen 16 --backend cpu
    `);
    assert.deepEqual([report.experts, report.heads], [{ dense: 5, shrunk: 3 }, { dense: 4, shrunk: 2 }]);
    // An expert has three layers of 12 × 16 weights and a row of the router. Two heads with their key head have rows in
    // q, k and v and columns in o.
    const experts = 2 * (3 * 12 * 16 + 16), heads = (12 + 6 + 6 + 12) * 16;
    assert.equal(report.parameters.dense - report.parameters.shrunk, 2 * (experts + heads));
    const { samples, validation_samples: heldOut = 0 } = report.calibration;
    for (const { scores, tokens, kept } of report.expert_use!) {
      assert.equal(tokens.reduce((sum, count) => sum + count), 2 * 16 * (samples - heldOut));
      const removed = scores.filter((_, expert) => !kept.includes(expert));
      assert.ok(kept.length === 3 && kept.every((expert) => scores[expert] >= Math.max(...removed)));
    }
    assert.equal((await runPare("verify", out)).code, 0);
  });

  it("prunes and rounds the smaller model in a second run, which continues from the model of the first", async () => {
    const options = words`--ffn 0.25 --sparsity 0.5 --for gguf:q4_0 --text ${evaluation} --windows 2`;
    const whole = await runPare(...command("llama-sotu", "whole/model", ...options));
    assert.match(
      whole.stderr,
      /the smaller model is in .*\.pare-shrunk until the run ends, and takes less than 3\.9 MB/,
    );
    // The first run of the command is that of a command without the options of the second run.
    const first = ["--ffn", "0.25", "--text", evaluation, "--windows", "2"];
    await pareJson(...command("llama-sotu", "continued/model/.pare-shrunk", ...first));
    const pruned = ["prune", `${MODELS}llama-sotu`, "--out", `${folder}/continued/model`, ...CALIBRATION];
    for (const other of [pruned, command("llama-sotu", "continued/model", ...first)]) {
      const { code, stderr } = await runPare(...other);
      assert.equal(code, 2);
      assert.match(
        stderr,
        /continued\/model: has an unfinished run of pare shrink in \.pare-shrunk; repeat its/,
      );
    }
    const { stderr } = await runPare(...command("llama-sotu", "continued/model", ...options));
    assert.match(stderr, /continued\/model\/\.pare-shrunk: this run is finished already/);
    const read = (path: string) => Deno.readFile(`${folder}/${path}`);
    const names = Array.from(Deno.readDirSync(`${folder}/whole/model`), ({ name }) => name);
    assert.ok(!names.includes(".pare-shrunk"));
    for (const name of names.filter((name) => /\.(safetensors|gguf)$/.test(name))) {
      assertSame(await read(`continued/model/${name}`), await read(`whole/model/${name}`), name);
    }
    const report: RunReport = JSON.parse(new TextDecoder().decode(await read("whole/model/pare.json")));
    assert.equal(report.model.name, "llama-sotu");
    assert.deepEqual(report.shrunk!.neurons, { dense: 512, shrunk: 384 });
    assert.equal(report.shrunk!.perplexity[0].pruned, report.perplexity[0].dense);
    assert.ok(report.layers.every(({ zeros, rows, cols }) => zeros >= Math.round(0.5 * rows * cols)));
    assert.ok(names.includes("model.gguf") && !names.some((name) => name.endsWith(".safetensors")));
  });

  it("refuses options of the second run before it shrinks the model", async () => {
    const { code, stderr } = await runPare(
      ...command("llama-sotu", "none", "--ffn", "0.25", "--bits", "3", "--for", "gguf:q4_0"),
    );
    assert.equal(code, 2);
    assert.match(stderr, /option --bits 3: --for gguf:q4_0 sets it to 4/);
    const gptq = command("llama-sotu", "none", "--ffn", "0.3", "--multiple", "8", "--for", "gptq");
    const misfit = await runPare(...gptq);
    assert.equal(misfit.code, 2);
    assert.match(
      misfit.stderr,
      /gptq needs a group size that divides the 360 columns of the weight; 32 does not/,
    );
    assert.doesNotMatch(misfit.stderr, /shrinking/);
    await assert.rejects(Deno.stat(`${folder}/none`), Deno.errors.NotFound);
  });

  it("refuses what it cannot shrink, and says what to change", async () => {
    for (
      const [words, message] of [
        [command("llama-sotu", "none"), /shrink: needs --smaller, --ffn, --heads, --experts or --blocks/],
        [
          command("bloom-sotu", "none", "--blocks", "1"),
          /"bloom" cannot be shrunk; the types that can are: arcee/,
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
          command("llama-sotu", "none", "--blocks", "1", "--reconstruct", "5"),
          /option --reconstruct 5: needs --ffn or --heads, because no other block changes without them/,
        ],
        [
          command("llama-sotu", "none", "--ffn", "0.05"),
          /--ffn 0.05: removes none of 512 neurons, .* rounded to 512/,
        ],
        [
          command("llama-sotu", "none", "--blocks", "4"),
          /--blocks 4: the model has 4 blocks, of which one must remain$/m,
        ],
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
