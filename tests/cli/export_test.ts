/** Tests `pare export`. `tests/peers/gguf_test.ts` compares its files with the library gguf, and loads them with llama.cpp. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { GridOptions } from "../../src/tensor/quantization.ts";
import { FAMILY_FIXTURES } from "../support/family_fixtures.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { integersOf, writeQuantizedModel } from "../support/quantized_checkpoints.ts";
import { blockWeights, type GgufFile, readBlocks, readGguf } from "../support/read_gguf.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { pareJson, runPare, words } from "./run_pare.ts";

const folder = temporaryFolder();
const LLAMA = OPT_SOTU.replace("opt-sotu", "llama-sotu");
const Q_NAME = "model.layers.1.self_attn.q_proj.weight", DOWN_NAME = "model.layers.1.mlp.down_proj.weight";

/** The result of the command. */
interface Exported {
  readonly layers: { readonly exact: string[]; readonly rounded: string[]; readonly inF16: string[] };
}

/** Writes a packed copy of llama-sotu. */
async function packed(title: string, gridOf: (name: string) => GridOptions | undefined): Promise<string> {
  const { quantized } = await writeQuantizedModel(LLAMA, `${folder}/${title}`, gridOf);
  await Deno.copyFile(`${LLAMA}/tokenizer.json`, `${quantized}/tokenizer.json`);
  return quantized;
}

/** Makes a copy of a random model of `tests/fixtures/families` with a tokenizer. Returns its folder. */
async function randomModel(family: string, settings: Record<string, unknown> = {}): Promise<string> {
  const source = FAMILY_FIXTURES + family, model = `${folder}/${family}`;
  const config = JSON.parse(await Deno.readTextFile(`${source}/config.json`));
  await Deno.mkdir(model, { recursive: true });
  await Deno.copyFile(`${source}/model.safetensors`, `${model}/model.safetensors`);
  await Deno.writeTextFile(`${model}/config.json`, JSON.stringify({ ...config, ...settings }));
  await Deno.writeTextFile(`${model}/tokenizer.json`, JSON.stringify(TINY_TOKENIZER));
  return model;
}

async function exportTo(
  file: string,
  model: string,
  type: string,
  ...options: string[]
): Promise<GgufFile & Exported> {
  const args = ["export", model, "--format", `gguf:${type}`, "--out", file, ...options];
  const result = await pareJson<Exported>(...args);
  return { ...readGguf(await Deno.readFile(file)), layers: result.layers };
}

const four: GridOptions = { bits: 4, groupSize: 32, symmetric: true };

describe("pare export", () => {
  it("takes over every code and scale, and puts rotated pairs of queries next to each other", async () => {
    const model = await packed("four", () => four);
    const { tensors, layers, metadata } = await exportTo(`${folder}/four.gguf`, model, "q4_0");
    assert.deepEqual([layers.exact.length, layers.rounded, layers.inF16], [28, [], []]);
    assert.equal(metadata.get("general.file_type"), 2);
    const down = await integersOf(model, DOWN_NAME),
      found = readBlocks(tensors.get("blk.1.ffn_down.weight")!);
    assert.deepEqual(found.codes.map((code) => code - 8), down.integers);
    assert.deepEqual(found.factors, down.scales);
    const { integers, cols } = await integersOf(model, Q_NAME),
      q = readBlocks(tensors.get("blk.1.attn_q.weight")!);
    const rows = Array.from(
      { length: integers.length / cols },
      (_, row) => integers.slice(row * cols, (row + 1) * cols),
    );
    const headDim = 32, order: number[] = [];
    for (let head = 0; head < rows.length; head += headDim) {
      for (let pair = 0; pair < headDim / 2; pair++) order.push(head + pair, head + pair + headDim / 2);
    }
    assert.deepEqual(q.codes.map((code) => code - 8), order.flatMap((row) => rows[row]));
  });

  it("takes over codes of other grids if the integers of the type include theirs", async () => {
    const grids: [string, GridOptions, string][] = [
      ["rows", { bits: 4, groupSize: 0, symmetric: true }, "q4_0"],
      ["asymmetric", { bits: 4, groupSize: 64, symmetric: false }, "q5_0"],
      ["eight", { bits: 8, groupSize: 32, symmetric: true }, "q8_0"],
    ];
    for (const [title, grid, type] of grids) {
      const model = await packed(title, () => grid),
        { tensors } = await exportTo(`${folder}/${title}.gguf`, model, type);
      const { integers, scales } = await integersOf(model, DOWN_NAME);
      const weights = blockWeights(tensors.get("blk.1.ffn_down.weight")!);
      assert.ok(weights.every((weight, i) => weight === integers[i] * scales[i]), title);
    }
  });

  it("gives the file a name by which llama.cpp does not change its reading of the tokenizer", async () => {
    const model = await randomModel("phi3"),
      nameIn = async (definition: object) => {
        await Deno.writeTextFile(`${model}/tokenizer.json`, JSON.stringify(definition));
        return (await exportTo(`${folder}/named.gguf`, model, "f16")).metadata.get("general.name");
      };
    assert.equal(await nameIn(TINY_TOKENIZER), "phi 3");
    const added_tokens = ["<unk>", "<s>", "<|endoftext|>", "</s>", "<|user|>"].map((content, id) => (
      { id: 10 + id, content, special: true, rstrip: id > 2 }
    ));
    const { vocab: { "</s>": _, ...vocab }, ...tiny } = TINY_TOKENIZER.model;
    const ofPhi3 = { ...TINY_TOKENIZER, added_tokens, model: { ...tiny, vocab } };
    assert.equal(await nameIn(ofPhi3), "phi3");
    await Deno.rename(model, `${folder}/pruned`);
    await exportTo(`${folder}/named.gguf`, `${folder}/pruned`, "f16");
    assert.equal(
      readGguf(await Deno.readFile(`${folder}/named.gguf`)).metadata.get("general.name"),
      "pruned (phi-3)",
    );
  });

  it("refuses codes that do not fit, and names the layer, its grid and the options", async () => {
    const model = await packed("mixed", (name) => name === DOWN_NAME ? { ...four, bits: 8 } : four);
    const out = `${folder}/mixed.gguf`;
    await Deno.writeTextFile(out, "earlier");
    const { code, stderr } = await runPare("export", model, "--format", "gguf:q4_0", "--out", out);
    assert.equal(code, 3);
    assert.match(
      stderr,
      /layers\.1\.mlp\.down_proj\.weight has codes of 8 bits in groups of 32, symmetric\. Q4_0 holds 4 bits in groups of 32, symmetric, .*--round nearest/,
    );
    assert.equal(await Deno.readTextFile(out), "earlier");
    const { layers } = await exportTo(out, model, "q4_0", "--round", "nearest");
    assert.deepEqual([layers.exact.length, layers.rounded], [27, [DOWN_NAME]]);
  });

  it("writes layers that a packed checkpoint has dense in F16", async () => {
    const model = await packed("part", (name) => name === DOWN_NAME ? undefined : four);
    const { layers, tensors } = await exportTo(`${folder}/part.gguf`, model, "q4_0");
    assert.deepEqual([layers.exact.length, layers.inF16], [27, [DOWN_NAME]]);
    assert.equal(tensors.get("blk.1.ffn_down.weight")!.type, 1);
  });

  it("writes every value of a dense checkpoint in F32, in F16 and in BF16", async () => {
    await using opened = await openModelFolder(LLAMA, denoFileSystem);
    const { data, dtype } = await opened.checkpoint.tensor(DOWN_NAME),
      wanted = bytesToFloats(data, dtype as FloatDtype);
    for (const type of ["f32", "bf16", "f16"] as const) {
      const { tensors } = await exportTo(`${folder}/dense.gguf`, LLAMA, type);
      const { bytes } = tensors.get("blk.1.ffn_down.weight")!;
      const values = bytesToFloats(bytes.slice(), type.toUpperCase() as FloatDtype);
      assert.ok(
        values.every((value, i) => value === (type === "f16" ? Math.f16round(wanted[i]) : wanted[i])),
        type,
      );
      assert.equal(tensors.get("blk.1.ffn_norm.weight")!.type, 0);
    }
  });

  it("writes the weights of all experts of a layer as one tensor, and the router in F32", async () => {
    const model = await randomModel("mixtral");
    const { tensors, layers, metadata } = await exportTo(`${folder}/mixtral.gguf`, model, "f32");
    await using opened = await openModelFolder(model, denoFileSystem);
    const { shape, bytes } = tensors.get("blk.1.ffn_down_exps.weight")!, wanted: number[] = [];
    for (const expert of [0, 1, 2, 3]) {
      const name = `model.layers.1.block_sparse_moe.experts.${expert}.w2.weight`;
      const { data, dtype } = await opened.checkpoint.tensor(name);
      wanted.push(...bytesToFloats(data, dtype as FloatDtype));
    }
    assert.deepEqual(shape, [4, 16, 20]);
    assert.deepEqual([...bytesToFloats(bytes.slice(), "F32")], wanted);
    assert.equal(layers.exact.length, 2 * (4 + 4 * 3));
    assert.deepEqual(
      ["expert_count", "expert_used_count"].map((key) => metadata.get(`llama.${key}`)),
      [4, 2],
    );
    const packed = await exportTo(`${folder}/mixtral.gguf`, model, "bf16");
    assert.equal(packed.tensors.get("blk.0.ffn_gate_inp.weight")!.type, 0);
  });

  it("divides the layer that computes gate and up of an expert into two tensors, with its biases", async () => {
    const rope_parameters = { rope_type: "default", rope_theta: 100 };
    const model = await randomModel("gpt_oss", { swiglu_limit: 7, rope_parameters });
    const { tensors, layers } = await exportTo(`${folder}/gpt_oss.gguf`, model, "f32");
    await using opened = await openModelFolder(model, denoFileSystem);
    const read = async (name: string) => {
      const { data, dtype } = await opened.checkpoint.tensor(name);
      return bytesToFloats(data, dtype as FloatDtype);
    };
    const name = "model.layers.1.mlp.experts.4.gate_up_proj", outputs = 40, inputs = 16;
    const weight = await read(`${name}.weight`), bias = await read(`${name}.bias`);
    for (const [part, place] of ["ffn_gate_exps", "ffn_up_exps"].entries()) {
      const [weights, biases] = ["weight", "bias"].map((kind) => tensors.get(`blk.1.${place}.${kind}`)!);
      assert.deepEqual([weights.shape, biases.shape], [[5, 20, 16], [5, 20]]);
      const rows = Array.from({ length: outputs / 2 }, (_, row) => 2 * row + part);
      assert.deepEqual(
        [...bytesToFloats(weights.bytes.slice(-4 * 20 * 16), "F32")],
        rows.flatMap((row) => Array.from({ length: inputs }, (_, input) => weight[input * outputs + row])),
      );
      assert.deepEqual([...bytesToFloats(biases.bytes.slice(-4 * 20), "F32")], rows.map((row) => bias[row]));
    }
    assert.equal(layers.exact.length, 2 * (4 + 5 * 2), "each layer is counted once");
  });

  it("refuses to round a dense checkpoint silently, and families that llama.cpp does not know", async () => {
    const refused = async (model: string, message: RegExp) => {
      const { code, stderr } = await runPare(
        ...words`export ${model} --format gguf:q4_0 --out ${folder}/none.gguf`,
      );
      assert.equal(code, 3);
      assert.match(stderr, message);
    };
    await refused(
      LLAMA,
      /layers\.0\.self_attn\.q_proj\.weight has no codes.*--for gguf:q4_0, .*or add --round nearest/,
    );
    await refused(
      await randomModel("qwen3_moe"),
      /norm_topk_prob must be true for the architecture qwen3moe of llama\.cpp, not false/,
    );
    await refused(
      await randomModel("qwen3_moe", { norm_topk_prob: true, mlp_only_layers: [1] }),
      /some blocks have no experts, which the architecture qwen3moe of llama\.cpp does not support/,
    );
    await refused(await randomModel("olmoe"), /4 heads of 4 dimensions and 2 key heads, .* olmoe /);
    await refused(
      await randomModel("gemma3_text", { query_pre_attn_scalar: 6 }),
      /the rotation of block 0 is not one of the architecture gemma3 /,
    );
    await refused(OPT_SOTU, /model_type "opt" cannot be exported to GGUF; the types that can are: arcee, /);
    assert.deepEqual(
      (await Array.fromAsync(Deno.readDir(folder), ({ name }) => name)).filter((name) => /none/.test(name)),
      [],
    );
  });

  it("gives nobody more rights to the file than to the weights", async () => {
    const model = `${folder}/private`;
    await Deno.mkdir(model);
    for await (const { name } of Deno.readDir(LLAMA)) {
      await Deno.copyFile(`${LLAMA}/${name}`, `${model}/${name}`);
      await Deno.chmod(`${model}/${name}`, 0o400);
    }
    await exportTo(`${folder}/private.gguf`, model, "f16");
    assert.equal((await Deno.stat(`${folder}/private.gguf`)).mode! & 0o777, 0o600);
  });
});
