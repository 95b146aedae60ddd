/** Tests `pare prune --plan`: the plan agrees with the run that follows, and writes nothing. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { basename } from "node:path";
import { startHost } from "../../scripts/processes/child_host.ts";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { diskWarnings, type RunPlan } from "../../src/cli/prune/plan/plan_run.ts";
import { REPORT_FILES } from "../../src/prune/report/file_names.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { pareJson, runPare, succeeded } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const LLAMA_SOTU = OPT_SOTU.replace("opt-sotu", "llama-sotu");

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;

function pruneArgs(out: string, ...options: readonly string[]): string[] {
  const windows = ["--method", "sparsegpt", "--samples", "4", "--seqlen", "64", "--backend", "cpu"];
  return ["prune", OPT_SOTU, "--out", out, "--calibration", text, ...windows, ...options];
}

/** Returns the bytes of all files in a folder and in its folders, by path. */
function filesOf(path: string): [string, number][] {
  return [...Deno.readDirSync(path)].flatMap(({ name, isDirectory }) =>
    isDirectory
      ? filesOf(`${path}/${name}`).map(([inner, bytes]): [string, number] => [`${name}/${inner}`, bytes])
      : [[name, Deno.statSync(`${path}/${name}`).size]]
  );
}

describe("pare prune --plan", () => {
  it("prints the layers, parameters, time, memory and disk space of the run, and creates no folder", async () => {
    const out = `${folder}/parents/planned`;
    const plan = await pareJson<RunPlan>(...pruneArgs(out, "--text", text, "--windows", "4", "--plan"));
    assert.ok(!existsSync(`${folder}/parents`));
    assert.deepEqual([plan.model, plan.layers, plan.weights, plan.blocks], ["opt-sotu", 24, 1769472, 4]);
    assert.deepEqual([plan.parameters.method, plan.samples, plan.seqlen], ["sparsegpt", 4, 64]);
    for (const phase of ["load", "calibration", "layers", "write", "evaluation"] as const) {
      assert.ok(plan.seconds[phase] > 0, phase);
    }
    assert.match(plan.device, /^cpu \(WebAssembly SIMD/);
    assert.equal(plan.sent, 0);
    assert.ok(plan.memory.process > plan.memory.device && plan.memory.device > 2 ** 20);
    assert.ok(plan.disk.free > plan.disk.output);
    assert.equal(plan.disk.unfinished, 2 * 4 * 64 * 192 * 4); // two files of hidden states
  });

  for (
    const [options, types, model] of [
      [["--format", "dense", "--pattern", "2:4"], []],
      [["--format", "pack-quantized", "--bits", "4"], []],
      [["--for", "gptq"], []],
      [["--for", "gguf:q4_0"], [/^llama, 1\.4 MB: 28 layers in Q4_0 /], LLAMA_SOTU],
      [
        ["--for", "gguf:q4_k"],
        [
          /^llama, 1\.5 MB: 4 layers in Q4_K /,
          /^24 layers in Q5_0 instead, .* not a multiple of 256, such as /,
        ],
        LLAMA_SOTU,
      ],
    ] as const
  ) {
    it(`lists the files of a run with ${options.join(" ")}, their sizes and the types that replace others`, async () => {
      const out = `${folder}/${options.join(" ").replace(":", "-")}`;
      const args = pruneArgs(out, ...options);
      if (model) args[1] = model;
      const plan = await pareJson<RunPlan>(...args, "--plan"), { disk: { files, output } } = plan;
      assert.equal(plan.result.length, types.length, plan.result.join("; "));
      types.forEach((type, i) => assert.match(plan.result[i], type));
      const { stderr } = await succeeded(runPare(...args));
      for (const line of plan.result) {
        assert.match(stderr, new RegExp(`^the file will have ${RegExp.escape(line)}$`, "m"));
      }
      assert.ok(stderr.split("\n").every((line) => line.length < 250), stderr);
      const written = filesOf(out).filter(([path]) => !REPORT_FILES.includes(basename(path)));
      assert.deepEqual(Object.keys(files).toSorted(), written.map(([path]) => path).toSorted());
      for (const [path, bytes] of written) {
        assert.ok(
          Math.abs(files[path] / bytes - 1) < 0.01,
          `${path}: ${files[path]} planned, ${bytes} written`,
        );
      }
      assert.equal(output, Object.values(files).reduce((sum, bytes) => sum + bytes));
    });
  }

  it("warns if there are few tokens, and so does the run", async () => {
    const warning = "warning: 256 tokens are fewer than three times 768 inputs: take more --samples\n";
    for (const options of [["--plan"], []]) {
      const { stderr } = await succeeded(runPare(...pruneArgs(`${folder}/few`, ...options)));
      assert.ok(stderr.includes(warning), stderr);
    }
    const { stderr } = await runPare(...pruneArgs(`${folder}/magnitude`, "--method", "magnitude", "--plan"));
    assert.doesNotMatch(stderr, /warning/);
  });

  for (const options of [[], ["--samples", "8", "--target", "dense", "--true-sequential"]]) {
    it(`plans the bytes that a host receives ${options.join(" ")}`, async () => {
      await using host = await startHost(["--backend", "cpu"]);
      const received = async () => {
        const text = await (await fetch(`${host.url}/metrics`)).text();
        return Number(/pare_bytes_total\{direction="in"\} (\d+)/.exec(text)?.[1]);
      };
      const args = pruneArgs(`${folder}/sent-${options.length}`, "--server", host.url, ...options);
      const { sent } = await pareJson<RunPlan>(...args, "--plan");
      const before = await received();
      await succeeded(runPare(...args));
      const actual = await received() - before;
      assert.ok(Math.abs(actual / sent - 1) < 0.01, `${sent} bytes planned, ${actual} received`);
    });
  }
});

describe("pare prune", () => {
  it("prints the time left after every layer", async () => {
    const { stderr } = await succeeded(runPare(...pruneArgs(`${folder}/left`, "--max-layer", "1")));
    const lines = stderr.split("\n").filter((line) => line.startsWith("pruning ")).slice(2);
    assert.equal(lines.length, 6, stderr);
    for (const line of lines) {
      assert.match(line, /^pruning \d\/6 \(about .* left\) model\..* relative error /);
    }
  });
});

describe("pare prune at its end", () => {
  for (
    const [options, hint] of [
      [
        ["--sparsity", "0.9"],
        /^warning: 90 % raised the perplexity from [\d.]+ to [\d.]+ on calibration.txt; try --method alps or more --samples$/m,
      ],
      [
        ["--bits", "2", "--ranges", "minmax"],
        /^warning: 2 bits raised the perplexity from [\d.]+ to [\d.]+ on calibration.txt; try --preset best or more bits$/m,
      ],
      [
        ["--for", "gptq", "--sparsity", "0.9"],
        /^warning: 90 % and 4 bits raised the perplexity from [\d.]+ to [\d.]+ on calibration.txt; leave out the sparsity, because zeros do not make .* gptq smaller or faster$/m,
      ],
    ] as const
  ) {
    it(`prints how to load the result, and what helps if the perplexity has risen a lot by ${options.join(" ")}`, async () => {
      const out = `${folder}/ruined ${options[0]} ${options[1]}`;
      const magnitude = ["--method", "magnitude", "--text", text, "--windows", "2"];
      const { stderr } = await succeeded(runPare(...pruneArgs(out, ...magnitude, ...options)));
      assert.match(stderr, hint);
      assert.match(stderr, /^load it in Python.*(from_pretrained|GPTQModel\.load)/m);
    });
  }
});

describe("diskWarnings()", () => {
  it("warns if the run needs more space than the disk has", () => {
    assert.deepEqual(diskWarnings({ output: 3e9, unfinished: 1e9 }, 4e9), []);
    assert.deepEqual(diskWarnings({ output: 3e9, unfinished: 2e9 }, 4e9), [
      "the run needs 5.0 GB on the disk, which has 4.0 GB free",
    ]);
  });
});
