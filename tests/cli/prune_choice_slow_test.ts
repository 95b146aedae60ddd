/** Tests `pare prune` with options that choose layers, and the report that the command writes. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { VERSION } from "../../src/protocol/version.ts";
import { runReportSchema } from "../../src/prune/report/run_report.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import { openOptSotu, OPT_SOTU } from "../support/opt_sotu.ts";
import { runPare, succeeded } from "./run_pare.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";

const PREFIX = "model.decoder.layers.";

const folder = temporaryFolder();
const text = (await writeSotuTexts(folder)).calibration;
const dense = await openOptSotu();
after(() => dense.close());

function prune(out: string, ...options: readonly string[]) {
  const windows = ["--method", "sparsegpt", "--samples", "2", "--seqlen", "32", "--backend", "cpu"];
  return runPare("prune", OPT_SOTU, "--out", out, "--calibration", text, ...windows, ...options);
}

async function profile(rules: unknown): Promise<string> {
  const path = `${folder}/profile.json`;
  await Deno.writeTextFile(path, JSON.stringify(rules));
  return path;
}

/** Returns the fraction of zeros in each tensor that differs from the dense model. The keys are the names without the common prefix. */
async function changedTensors(out: string): Promise<Record<string, number>> {
  const pruned = await openCheckpoint(out, denoFileSystem);
  const shares: Record<string, number> = {};
  try {
    for (const name of dense.names()) {
      const { data, dtype } = await pruned.tensor(name), original = await dense.tensor(name);
      if (data.every((byte, i) => byte === original.data[i])) continue;
      assert.ok(dtype === "F16");
      const values = bytesToFloats(data, dtype);
      shares[name.slice(PREFIX.length, -".weight".length)] = values.filter((x) => x === 0).length /
        values.length;
    }
  } finally {
    await pruned.close();
  }
  return shares;
}

describe("pare prune of some layers", () => {
  it("changes only these layers, with the parameters of the profile, and writes a report", async () => {
    const out = `${folder}/part`;
    const rules = await profile([
      { match: "fc2", sparsity: 0.25 },
      { match: "2.fc2", pattern: "2:4" },
      { match: "*.1.fc1", skip: true },
    ]);
    const options = ["--layers", "fc1,fc2", "--min-layer", "1", "--max-layer", "3", "--profile", rules];
    await succeeded(prune(out, "--sparsity", "0.75", "--method", "magnitude", ...options));
    assert.deepEqual(await changedTensors(out), { "1.fc2": 0.25, "2.fc1": 0.75, "2.fc2": 0.5 });

    const run = runReportSchema.parse(JSON.parse(await Deno.readTextFile(`${out}/pare.json`)));
    assert.deepEqual(
      run.layers.map(({ name, block, pattern }) => [name.slice(PREFIX.length, -7), block, pattern]),
      [
        ["1.fc2", 1, "unstructured"],
        ["2.fc1", 2, "unstructured"],
        ["2.fc2", 2, "2:4"],
      ],
    );
    assert.equal(run.skipped.length, 21);
    assert.deepEqual(run.model, { name: "opt-sotu", model_type: "opt", blocks: 4, hidden_size: 192 });
    assert.deepEqual(run.calibration, {
      text: "calibration.txt",
      digest: run.fingerprint!["the calibration text"],
      samples: 2,
      validation_samples: 0,
      seqlen: 32,
      seed: null,
    });
    assert.deepEqual(run.parameters, {
      method: "magnitude",
      sparsity: 0.75,
      token_weights: "unit",
      layers: ["fc1", "fc2"],
      pattern: "unstructured",
      blocksize: 128,
      damping: 0.01,
      min_layer: 1,
      max_layer: 3,
      profile: "profile.json",
    });
    assert.deepEqual([run.version, run.resumed, run.format, run.backend], [VERSION, 0, "dense", "cpu"]);
    const { size } = await Deno.stat(`${out}/model.safetensors`);
    assert.deepEqual(run.bytes, { dense: size, written: size });
    const { total, ...phases } = run.seconds;
    assert.ok(phases.calibration > 0 && phases.layers > 0 && phases.write > 0, JSON.stringify(phases));
    assert.ok(Math.abs(total - Object.values(phases).reduce((sum, seconds) => sum + seconds, 0)) < 1e-9);
    assert.match(await Deno.readTextFile(`${out}/report.html`), /<title>opt-sotu, pruned<\/title>/);
  });

  for (const how of ["owl", "error"]) {
    it(`spreads the zeros with --allocate ${how}, leaves the layers of the profile out, and reports the sparsities`, async () => {
      const out = `${folder}/allocate-${how}`;
      const rules = await profile([{ match: "1.fc2", sparsity: 0.25 }, { match: "2.fc2", pattern: "2:4" }]);
      const options = ["--layers", "fc1,fc2", "--sparsity", "0.6", "--profile", rules, "--allocate", how];
      await succeeded(prune(out, ...options));
      const run = runReportSchema.parse(JSON.parse(await Deno.readTextFile(`${out}/pare.json`)));
      const { name, sparsities, notes } = run.allocation!;
      assert.deepEqual([name, run.parameters.allocate, notes.length], [how, how, 1]);
      const isAllocated = (layer: { name: string }) => !/[12]\.fc2/.test(layer.name);
      const allocated = run.layers.filter(isAllocated);
      assert.deepEqual(Object.keys(sparsities), allocated.map((layer) => layer.name));
      for (const { name, rows, cols, zeros } of allocated) {
        assert.equal(zeros, Math.round(sparsities[name] * rows * cols), name);
      }
      assert.ok(new Set(Object.values(sparsities)).size > 1);
      const sumOf = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
      const entries = sumOf(allocated.map(({ rows, cols }) => rows * cols));
      assert.equal(sumOf(allocated.map(({ zeros }) => zeros)), Math.round(0.6 * entries));
      assert.deepEqual(run.layers.filter((layer) => !isAllocated(layer)).map(({ sparsity }) => sparsity), [
        0.25,
        0.5,
      ]);
      const page = await Deno.readTextFile(`${out}/report.html`);
      assert.match(page, /<th scope="col"[^>]*>Allocated<\/th>/);
      assert.ok(page.includes(notes[0]));
    });
  }

  it("refuses --allocate with an n:m pattern or with a profile that sets every sparsity, before any work", async () => {
    const out = `${folder}/refused`;
    const rules = await profile([{ match: "*", sparsity: 0.25 }]);
    for (
      const [options, message] of [
        [["--pattern", "2:4"], /--allocate owl: needs unstructured sparsity, but the pattern 2:4 fixes/],
        [["--profile", rules], /--allocate owl: has no layer .* of all 24 layers/],
      ] as const
    ) {
      const { code, stderr } = await prune(out, "--allocate", "owl", ...options);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
      await assert.rejects(Deno.stat(out), Deno.errors.NotFound);
    }
  });

  it("calibrates the groups of a block one after the other with --true-sequential, which changes the later groups", async () => {
    const outs: string[] = [];
    for (const options of [[], ["--true-sequential"]]) {
      outs.push(`${folder}/sequential${options.length}`);
      assert.equal((await prune(outs.at(-1)!, "--max-layer", "1", ...options)).code, 0);
    }
    const [plain, sequential] = await Promise.all(outs.map((out) => openCheckpoint(out, denoFileSystem)));
    for (
      const [name, same] of [["self_attn.v_proj", true], ["self_attn.out_proj", false], [
        "fc2",
        false,
      ]] as const
    ) {
      const both = await Promise.all([plain, sequential].map((c) => c.tensor(`${PREFIX}0.${name}.weight`)));
      assert.equal(both[0].data.every((byte, i) => byte === both[1].data[i]), same, name);
    }
    await Promise.all([plain.close(), sequential.close()]);
  });

  it("writes the same bytes with hidden states on disk and in memory", async () => {
    const [memory, disk] = await Promise.all(["memory", "disk"].map(async (place) => {
      const out = `${folder}/${place}`;
      await succeeded(prune(out, "--max-layer", "2", "--activations", place));
      return await Deno.readFile(`${out}/model.safetensors`);
    }));
    assert.deepEqual(memory, disk);
  });

  it("refuses a format that cannot store the pruned layers, before any work", async () => {
    const out = `${folder}/refused`;
    const { code, stderr } = await prune(out, "--format", "gptq", "--bits", "3");
    assert.equal(code, 2);
    assert.match(stderr, /--format gptq: .*weight: gptq stores 4 or 8 bits, not 3/);
    await assert.rejects(Deno.stat(out), Deno.errors.NotFound);
  });

  for (
    const [what, options, message] of [
      ["blocks that the model does not have", ["--min-layer", "4"], /leaves none of the 24/],
      ["an unknown key of a profile", [{ match: "fc1", sparcity: 1 }], /rule 0: .*sparcity/],
      ["a value out of range", [{ match: "fc1", sparsity: 2 }], /profile for .*0\.fc1\.weight: sparsity: /],
      [
        "parameters that contradict each other",
        [{ match: "fc1", pattern: "2:4", sparsity: 0.3 }],
        /contradicts/,
      ],
    ] as const
  ) {
    it(`refuses ${what} as wrong usage, and creates no files`, async () => {
      const out = `${folder}/refused`;
      const isProfile = typeof options[0] !== "string";
      const args = isProfile ? ["--profile", await profile(options)] : options as readonly string[];
      const { code, stderr } = await prune(out, ...args);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
      await assert.rejects(Deno.stat(out));
    });
  }
});
