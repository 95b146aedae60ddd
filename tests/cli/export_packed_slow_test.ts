/** Tests `pare export` to folders with codes. `tests/peers/gptq_test.ts` loads them with other programs. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import { decodeGptq, type GptqTensors } from "../reference/gptq_layout.ts";
import { assertSame } from "../support/assert_same.ts";
import { readTensors } from "../support/checkpoint_files.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { integersOf, writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { readFolder, temporaryFolder } from "../support/temporary_folder.ts";
import { pareJson, runPare } from "./run_pare.ts";

const folder = temporaryFolder();
const LLAMA = OPT_SOTU.replace("opt-sotu", "llama-sotu");
const DOWN_NAME = "model.layers.1.mlp.down_proj.weight";
const RUN = new URL("../prune/report/opt_sotu_run.json", import.meta.url);
const four: GridOptions = { bits: 4, groupSize: 32, symmetric: true };

/** The result of the command. */
interface Exported {
  readonly grid: { readonly bits: number; readonly groupSize: number };
  readonly layers: { readonly exact: string[]; readonly rounded: string[] };
  readonly bytes: number;
}

async function packed(title: string, gridOf: (name: string) => GridOptions | undefined): Promise<string> {
  return (await writeQuantizedModel(LLAMA, `${folder}/${title}`, gridOf)).quantized;
}

/** Compares every weight of a folder in the layout `gptq` with integers times scales. */
async function assertProducts(exported: string, { grid, layers }: Exported, model: string): Promise<void> {
  const tensors = await readTensors(exported);
  for (const name of layers.exact) {
    const stem = name.slice(0, -".weight".length), part = (suffix: string) => tensors[`${stem}.${suffix}`];
    const parts = Object.fromEntries(["qweight", "qzeros", "scales", "g_idx"].map((key) => [key, part(key)]));
    const values = decodeGptq(parts as unknown as GptqTensors, grid.bits);
    const { integers, scales } = await integersOf(model, name);
    assert.ok(integers.some((integer) => integer !== 0));
    assert.equal(values.findIndex((value, i) => value !== integers[i] * scales[i]), -1, name);
    assert.ok(!(name in tensors), name);
  }
}

describe("pare export --format gptq", () => {
  it("takes over every code and scale, and describes the grid in config.json", async () => {
    const model = await packed("four", () => four), out = `${folder}/gptq`;
    await Deno.copyFile(RUN, `${model}/pare.json`);
    const result = await pareJson<Exported>("export", model, "--format", "gptq", "--out", out);
    assert.deepEqual([result.grid, result.layers.exact.length, result.layers.rounded], [
      { bits: 4, groupSize: 32 },
      28,
      [],
    ]);
    await assertProducts(out, result, model);
    const { quantization_config: quantization, ...config } = JSON.parse(
      await Deno.readTextFile(`${out}/config.json`),
    );
    const { quant_method, checkpoint_format, bits, group_size, sym, desc_act } = quantization;
    assert.deepEqual([quant_method, checkpoint_format, bits, group_size, sym, desc_act], [
      "gptq",
      "gptq",
      4,
      32,
      true,
      false,
    ]);
    assert.deepEqual(config, JSON.parse(await Deno.readTextFile(`${LLAMA}/config.json`)));
    assert.deepEqual([...(await readFolder(out)).keys()], [
      "/README.md",
      "/config.json",
      "/model-00001-of-00002.safetensors",
      "/model-00002-of-00002.safetensors",
      "/model.safetensors.index.json",
      "/pare.json",
      "/reference.json",
      "/report.html",
      "/tokenizer.json",
      "/tokenizer_config.json",
    ]);
    const run = JSON.parse(await Deno.readTextFile(`${out}/pare.json`));
    assert.deepEqual([run.format, run.bytes.written, run.fingerprint], ["gptq", result.bytes, undefined]);
  });

  it("writes the largest groups that divide those of the checkpoint", async () => {
    const grids: [string, GridOptions, Exported["grid"]][] = [
      ["rows", { bits: 8, groupSize: 0, symmetric: true }, { bits: 8, groupSize: 64 }],
      ["groups of 96", { bits: 4, groupSize: 96, symmetric: true }, { bits: 4, groupSize: 32 }],
    ];
    for (const [title, grid, wanted] of grids) {
      // The groups of 96 divide the 192 columns of all layers but this kind.
      const gridOf = (name: string) => title === "rows" || !name.includes("down_proj") ? grid : four;
      const model = await packed(title, gridOf), out = `${folder}/${title} gptq`;
      const result = await pareJson<Exported>("export", model, "--format", "gptq", "--out", out);
      assert.deepEqual(result.grid, wanted);
      await assertProducts(out, result, model);
    }
  });

  it("refuses layers that do not fit, names the layer, its grid and the options, and keeps what was there", async () => {
    const mixed = await packed("mixed", (name) => name === DOWN_NAME ? { ...four, bits: 8 } : four);
    const out = `${folder}/mixed gptq`, args = ["export", mixed, "--format", "gptq", "--out", out];
    await pareJson("export", await packed("earlier", () => four), "--format", "gptq", "--out", out);
    const before = await readFolder(out);
    const refused = async (code: number, message: RegExp, ...args: string[]) => {
      const finished = await runPare(...args);
      assert.equal(finished.code, code, finished.stderr);
      assert.match(finished.stderr, message);
      assertSame(await readFolder(out), before);
    };
    await refused(2, /mixed gptq: is not empty; choose another folder, or add --overwrite/, ...args);
    await refused(
      3,
      /layers\.1\.mlp\.down_proj\.weight has codes of 8 bits in groups of 32, symmetric\. gptq holds .*: prune with --format gptq .*--round nearest/,
      ...args,
      "--overwrite",
    );
    const asymmetric = await packed("asymmetric", () => ({ ...four, symmetric: false }));
    await refused(
      3,
      /q_proj\.weight has codes of 4 bits in groups of 32, asymmetric\./,
      ...args.with(1, asymmetric),
      "--overwrite",
    );
    await refused(
      3,
      /q_proj\.weight has no codes\. gptq holds .*: prune with --format gptq --bits 4 --group-size 32 --symmetric, or add --round nearest/,
      ...args.with(1, LLAMA),
      "--overwrite",
    );
    const { layers } = await pareJson<Exported>(...args, "--overwrite", "--round", "nearest");
    assert.deepEqual([layers.exact.length, layers.rounded], [27, [DOWN_NAME]]);
  });

  it("refuses models for which the layout has no place", async () => {
    const refused = async (model: string, message: RegExp) => {
      const { code, stderr } = await runPare(
        ...["export", model, "--format", "gptq", "--round", "nearest", "--out", `${folder}/none`],
      );
      assert.equal(code, 3, stderr);
      assert.match(stderr, message);
    };
    const families = new URL("../fixtures/families/", import.meta.url).pathname;
    await refused(`${families}gpt2`, /is stored transposed \(Conv1D\), which gptq does not support/);
    await refused(`${families}mixtral`, /has rows of 16 weights, but gptq needs a multiple of 32/);
  });

  it("rounds a dense model to nearest, with an error of at most half a step", async () => {
    const out = `${folder}/nearest`;
    const result = await pareJson<Exported>(
      ...["export", LLAMA, "--format", "gptq", "--round", "nearest", "--out", out],
    );
    assert.deepEqual([result.grid, result.layers.rounded.length], [{ bits: 4, groupSize: 32 }, 28]);
    const tensors = await readTensors(out), stem = DOWN_NAME.slice(0, -".weight".length);
    const part = (suffix: string) => tensors[`${stem}.${suffix}`];
    const values = decodeGptq(
      { qweight: part("qweight"), qzeros: part("qzeros"), scales: part("scales"), g_idx: part("g_idx") },
      4,
    );
    await using opened = await openModelFolder(LLAMA, denoFileSystem);
    const { data, dtype, shape: [rows, cols] } = await opened.checkpoint.tensor(DOWN_NAME);
    const weights = bytesToFloats(data, dtype as FloatDtype);
    const scales = bytesToFloats(part("scales").data, "F16");
    for (let i = 0; i < weights.length; i++) {
      const scale = Math.abs(scales[Math.floor(i % cols / 32) * rows + Math.floor(i / cols)]);
      // The grid has one value less on the side where the largest weight is not, so the values there may be clamped by a whole step.
      const isClamped = Math.abs(values[i]) === 7 * scale;
      const error = Math.abs(values[i] - weights[i]);
      assert.ok(error <= scale * (isClamped ? 1.01 : 0.5), `${i}: ${error} of ${scale}`);
    }
  });
});

describe("pare export --format pack-quantized", () => {
  it("takes over the codes and scales of a checkpoint in gptq, from which the first export has made it", async () => {
    const model = await packed("source", () => four),
      gptq = `${folder}/source gptq`,
      out = `${folder}/repacked`;
    await pareJson("export", model, "--format", "gptq", "--out", gptq);
    const { layers } = await pareJson<Exported>("export", gptq, "--format", "pack-quantized", "--out", out);
    assert.equal(layers.exact.length, 28);
    for (const name of layers.exact) {
      assertSame(await integersOf(out, name), await integersOf(model, name), name);
    }
    const { code, stderr } = await runPare(
      ...["export", model, "--format", "pack-quantized", "--out", `${folder}/again`],
    );
    assert.equal(code, 3);
    assert.match(stderr, /is in the format pack-quantized already/);
  });
});
