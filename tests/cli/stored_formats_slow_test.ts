/** Runs the commands on checkpoints whose weights other programs stored in FP8 or GPTQ. They must do what they do with the dense copies. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { openModel } from "../../src/model/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { bytesToFloats, type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertSame } from "../support/assert_same.ts";
import { readTensors, withCheckpoint, writeFiles } from "../support/checkpoint_files.ts";
import { writeProducts, writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { pareJson, runPare, succeeded, words } from "./run_pare.ts";

const MODEL = fileURLToPath(new URL("../fixtures/models/llama-sotu", import.meta.url)), BLOCK = 128;
const folder = temporaryFolder(), { calibration, evaluation } = await writeSotuTexts(folder);
const CALIBRATION = ["--calibration", calibration, "--samples", "4", "--seqlen", "64", "--backend", "cpu"];

/** The non-negative numbers of F8_E4M3 in the order of their codes. */
const NUMBERS = Array.from({ length: 127 }, (_, code) => {
  const exponent = code >> 3, eighths = code & 7;
  return exponent === 0 ? eighths * 2 ** -9 : (8 + eighths) * 2 ** (exponent - 10);
});

/** Returns the code of the number next to `value`. */
function float8Code(value: number): number {
  const magnitude = Math.abs(value), above = NUMBERS.findIndex((number) => number >= magnitude);
  const code = above === -1
    ? 126
    : above > 0 && magnitude - NUMBERS[above - 1] < NUMBERS[above] - magnitude
    ? above - 1
    : above;
  return value < 0 ? code + 128 : code;
}

/** Returns the tensors of a weight in blocks of 128 × 128 with scales in F32. */
function inFloat8(name: string, { dtype, shape, data }: HostTensor): Record<string, HostTensor> {
  const values = bytesToFloats(data, dtype as FloatDtype),
    [rows, cols] = shape,
    grid = shape.map((size) => Math.ceil(size / BLOCK));
  const scales = new Float32Array(grid[0] * grid[1]);
  const blockOf = (i: number) => Math.floor(i / cols / BLOCK) * grid[1] + Math.floor(i % cols / BLOCK);
  values.forEach((value, i) => scales[blockOf(i)] = Math.max(scales[blockOf(i)], Math.abs(value) / 448));
  const codes = Uint8Array.from(values, (value, i) => float8Code(value / scales[blockOf(i)]));
  return {
    [name]: { dtype: "F8_E4M3", shape: [rows, cols], data: codes },
    [`${name}_scale_inv`]: { dtype: "F32", shape: grid, data: floatsToBytes(scales, "F32") },
  };
}

/** Writes the model to `target` with the layers of its blocks in FP8. */
async function writeFloat8Model(target: string): Promise<void> {
  await Deno.mkdir(target, { recursive: true });
  const layers = await withCheckpoint(
    MODEL,
    (opened) => Promise.resolve(new Set(linearLayers(openModel(opened).spec).map(({ name }) => name))),
  );
  const tensors = Object.entries(await readTensors(MODEL)).flatMap(([name, tensor]) =>
    Object.entries(layers.has(name) ? inFloat8(name, tensor) : { [name]: tensor })
  );
  const quantization_config = {
    quant_method: "fp8",
    activation_scheme: "dynamic",
    weight_block_size: [BLOCK, BLOCK],
  };
  await writeFiles(target, {
    "config.json": { ...JSON.parse(await Deno.readTextFile(`${MODEL}/config.json`)), quantization_config },
    "model.safetensors": Object.fromEntries(tensors),
  });
  await copyTokenizer(target);
}

async function tensorsAndConfig(folder: string) {
  const config = JSON.parse(await Deno.readTextFile(`${folder}/config.json`));
  return { tensors: await readTensors(folder), config };
}

async function copyTokenizer(target: string): Promise<void> {
  for (const name of ["tokenizer.json", "tokenizer_config.json"]) {
    await Deno.copyFile(`${MODEL}/${name}`, `${target}/${name}`);
  }
}

/** Asserts that `run` has equal results for a stored model and its dense copy, and returns the result. */
async function sameResult<T>(run: (model: string) => Promise<T>): Promise<T> {
  const [stored, dense] = [await run(`${folder}/fp8/model`), await run(`${folder}/dense/model`)];
  assertSame(stored, dense);
  return stored;
}

await writeFloat8Model(`${folder}/fp8/model`);
await pareJson("unpack", `${folder}/fp8/model`, "--out", `${folder}/dense/model`);

describe("a model in FP8", () => {
  it("has the perplexity of its dense copy, and nearly that of the model that was quantised", async () => {
    const perplexity = async (model: string) => {
      const args = words`eval ${model} --text ${evaluation} --windows 4 --seqlen 128 --backend cpu`;
      return (await pareJson<{ models: { texts: { perplexity: number }[] }[] }>(...args)).models[0].texts[0]
        .perplexity;
    };
    const [stored, original] = [await sameResult(perplexity), await perplexity(MODEL)];
    assert.ok(Math.abs(stored - original) < 0.05 * original, `${original} became ${stored}`);
    assert.notEqual(stored, original);
  });

  it("generates the text of its dense copy", () =>
    sameResult(async (model) =>
      (await pareJson<{ text: string }>(
        ...words`generate ${model} ${"My fellow citizens"} --tokens 20 --backend cpu`,
      )).text
    ));

  it("is pruned to the tensors and the config.json of its pruned dense copy", () =>
    sameResult(async (model) => {
      const out = `${model} pruned`;
      const { stderr } = await succeeded(runPare(
        ...words`prune ${model} --out ${out} --method wanda ${CALIBRATION}`,
      ));
      const remarks = stderr.match(
        /fp8\/model: its weights are in the format fp8, and are dequantised when they are read/g,
      );
      assert.equal(remarks?.length ?? 0, model.includes("fp8") ? 1 : 0, stderr);
      return await tensorsAndConfig(out);
    }));

  it("is pruned to the codes of its pruned dense copy with --format pack-quantized", () =>
    sameResult(async (model) => {
      const out = `${model} packed`;
      await pareJson(...words`prune ${model} --out ${out} --bits 4 --format pack-quantized ${CALIBRATION}`);
      return await tensorsAndConfig(out);
    }));

  it("is shrunk to the tensors of its shrunk dense copy", () =>
    sameResult(async (model) => {
      await pareJson("shrink", model, "--out", `${model} shrunk`, "--ffn", "0.25", ...CALIBRATION);
      return await readTensors(`${model} shrunk`);
    }));

  it("is exported to the GGUF file of its dense copy", () =>
    sameResult(async (model) => {
      await pareJson("export", model, "--format", "gguf:f16", "--out", `${model}.gguf`);
      return await Deno.readFile(`${model}.gguf`);
    }));
});

describe("a model that pare export wrote in the format gptq", () => {
  it("has the products of its codes and scales as weights, rounded to F16", async () => {
    const { quantized } = await writeQuantizedModel(
      MODEL,
      `${folder}/rounded`,
      () => ({ bits: 4, groupSize: 32, symmetric: true }),
    );
    await copyTokenizer(quantized);
    await pareJson("export", quantized, "--format", "gptq", "--out", `${folder}/gptq`);
    await pareJson("unpack", `${folder}/gptq`, "--out", `${folder}/unpacked`);
    const names = await writeProducts(quantized, `${folder}/products`);
    const [products, unpacked] = [
      await readTensors(`${folder}/products`),
      await readTensors(`${folder}/unpacked`),
    ];
    assert.equal(names.length, 28);
    for (const name of names) {
      const { shape, data } = products[name];
      assertSame(unpacked[name], {
        dtype: "F16",
        shape,
        data: floatsToBytes(bytesToFloats(data, "F32"), "F16"),
      }, name);
    }
  });
});
