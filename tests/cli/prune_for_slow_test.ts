/** Tests `pare prune --for`. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { writeSotuTexts } from "../../scripts/fixtures/sotu_text.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import { assertSame } from "../support/assert_same.ts";
import { OPT_SOTU } from "../support/opt_sotu.ts";
import { copyInFloat32, roundTwice } from "../support/gguf_runs.ts";
import { blockWeights, readGguf, superBlockWeights } from "../support/read_gguf.ts";
import { randomWeights, type Shapes } from "../support/random_weights.ts";
import { readTensors, writeFiles } from "../support/checkpoint_files.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { temporaryFolder } from "../support/temporary_folder.ts";
import { pareJson, runPare, succeeded, words } from "./run_pare.ts";

const folder = temporaryFolder();
const MODELS = OPT_SOTU.replace("opt-sotu", "");
const { calibration } = await writeSotuTexts(`${folder}/text`);

/**
 * The command that rounds a model for llama.cpp, without `--for`.
 * @param model the name of a trained model, or the path of another one
 */
function command(model: string, out: string): string[] {
  const short = words`--samples 4 --seqlen 64 --method sparsegpt --backend cpu`;
  const path = model.startsWith("/") ? model : `${MODELS}${model}`;
  return ["prune", path, "--out", out, "--calibration", calibration, ...short];
}

/** Writes a model with random weights and the tokenizer of `TINY_TOKENIZER`. Returns its folder. */
async function randomModel(config: Readonly<Record<string, unknown>>, shapes: Shapes): Promise<string> {
  const model = `${folder}/${config.model_type}`, { values } = randomWeights(shapes);
  await Deno.mkdir(model);
  const tensors = [...values].map(([name, value]) => [
    name,
    { dtype: "F32", shape: shapes[name], data: new Uint8Array(Float32Array.from(value).buffer) },
  ]);
  await writeFiles(model, {
    "config.json": config,
    "tokenizer.json": TINY_TOKENIZER,
    "model.safetensors": Object.fromEntries(tensors),
  });
  return model;
}

/** Puts the name of a block before the names of its tensors. */
function inBlock(block: string, shapes: Shapes): Shapes {
  return Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [`${block}.${name}`, shape]));
}

describe("pare prune --for", () => {
  it("writes the weights of a run in F32, with the codes of the solver, and lists the rows that are not whole super-blocks", async () => {
    const model = `${folder}/llama in F32`,
      options = words`--samples 4 --seqlen 64 --method sparsegpt --backend cpu`;
    await copyInFloat32(`${MODELS}llama-sotu`, model);
    for (const [type, code, fallback] of [["q6_k", 14, 8], ["q4_k", 12, 6], ["q3_k", 11, 2]] as const) {
      const { gguf, dense } = await roundTwice(model, `${folder}/${type}`, type, "down_proj", [
        ...["--calibration", calibration, ...options],
      ]);
      const { tensors } = readGguf(await Deno.readFile(`${gguf}/model.gguf`));
      const down = tensors.get("blk.2.ffn_down.weight")!, up = tensors.get("blk.2.ffn_up.weight")!;
      assert.deepEqual([down.type, up.type], [code, fallback]);
      await using opened = await openModelFolder(dense, denoFileSystem);
      for (const [name, weights] of [["down", superBlockWeights(down)], ["up", blockWeights(up)]] as const) {
        const { data, dtype } = await opened.checkpoint.tensor(`model.layers.2.mlp.${name}_proj.weight`);
        assert.equal(dtype, "F32");
        assert.ok(bytesToFloats(data, "F32").every((weight, i) => weight === weights[i]), `${type} ${name}`);
      }
    }
  });

  it("writes a file of a model in BF16, and its importance matrix, and names the layers in the fallback", async () => {
    const out = `${folder}/importance`,
      options = ["--for", "gguf:q4_k", "--imatrix", `${folder}/imatrix.gguf`];
    const { stderr } = await succeeded(runPare(...command("llama-sotu", out), ...options));
    assert.match(
      stderr,
      /24 layers in Q5_0 instead, because their rows are not a multiple of 256, such as model.layers.0\S+$/m,
    );
    const imatrix = readGguf(await Deno.readFile(`${folder}/imatrix.gguf`));
    assert.equal(imatrix.metadata.get("general.type"), "imatrix");
    assert.deepEqual(imatrix.tensors.get("blk.2.ffn_down.weight.in_sum2")!.shape, [512]);
    assert.deepEqual(
      [...Deno.readDirSync(out)].filter(({ name }) => /safetensors|partial|bin$/.test(name)),
      [],
    );
  });

  it("writes a file with the name of the model, and knows whether it is finished", async () => {
    const out = `${folder}/out`, args = [...command("llama-sotu", out), "--for", "gguf:q4_0"];
    await pareJson(...args);
    const written = await Deno.readFile(`${out}/model.gguf`), { tensors, metadata } = readGguf(written);
    assert.equal(metadata.get("general.name"), "llama-sotu");
    const { parameters, command: repeated } = JSON.parse(await Deno.readTextFile(`${out}/pare.json`));
    assert.deepEqual([parameters.for, parameters.sparsity], ["gguf:q4_0", 0]);
    for (const text of [repeated, await Deno.readTextFile(`${out}/README.md`)]) {
      assert.match(text, /--for gguf:q4_0/);
    }
    const types = [...tensors.values()].map(({ type }) => type);
    assert.deepEqual([2, 8, 0, 1].map((type) => types.filter((found) => found === type).length), [
      28,
      1,
      9,
      0,
    ]);
    const { already_finished } = await pareJson<{ already_finished: boolean }>(...args);
    assert.equal(already_finished, true);
    const asModel = await runPare("export", out, "--format", "gguf:f16", "--out", `${folder}/exported.gguf`);
    assert.match(asModel.stderr, /has none of .*, but model\.gguf, which llama\.cpp runs/);
    await Deno.truncate(`${out}/model.gguf`, 1000);
    const damaged = await runPare(...args);
    assert.equal(damaged.code, 2, damaged.stderr);
    assert.match(
      damaged.stderr,
      /a finished run that is damaged: \S+model\.gguf: has 1000 bytes, but must have \d+\. Add --overwrite/,
    );
    await pareJson(...args, "--overwrite");
    assertSame(await Deno.readFile(`${out}/model.gguf`), written);
  });

  it("refuses, before any work, what contradicts it", async () => {
    const refused = async (model: string, options: string[], code: number, message: RegExp) => {
      const finished = await runPare(...command(model, `${folder}/refused`), ...options);
      assert.equal(finished.code, code, finished.stderr);
      assert.match(finished.stderr, message);
    };
    const four = ["--for", "gguf:q4_0"];
    await refused("llama-sotu", [...four, "--bits", "3"], 2, /option --bits 3: --for gguf:q4_0 sets it to 4/);
    await refused(
      "llama-sotu",
      [...four, "--group-size", "64"],
      2,
      /option --group-size 64: --for gguf:q4_0 sets it to 32/,
    );
    await refused(
      "llama-sotu",
      [...four, "--scale-dtype", "BF16"],
      2,
      /option --scale-dtype BF16: --for gguf:q4_0 sets it to F16/,
    );
    await refused(
      "llama-sotu",
      [...four, "--format", "pack-quantized"],
      2,
      /option --format pack-quantized: --for gguf:q4_0 sets it to dense/,
    );
    await refused(
      "llama-sotu",
      ["--for", "gguf:q4_k", "--symmetric"],
      2,
      /option --symmetric true: --for gguf:q4_k sets it to false/,
    );
    await refused("opt-sotu", four, 3, /model_type "opt" cannot be exported to GGUF/);
  });

  it("refuses, before any work, a tensor for which llama.cpp has no place", async () => {
    const heads = { num_attention_heads: 2, num_key_value_heads: 2, head_dim: 16 };
    const sizes = { vocab_size: 5, hidden_size: 32, intermediate_size: 32, num_hidden_layers: 1 };
    const attention = ["q", "k", "v", "o"].map((name) => `self_attn.${name}_proj`);
    const norms = ["input_layernorm", "post_attention_layernorm"];
    const model = await randomModel({
      ...{ model_type: "qwen3", attention_bias: true, tie_word_embeddings: true, rms_norm_eps: 1e-6 },
      ...{ ...sizes, ...heads, hidden_act: "silu", rope_theta: 10_000, max_position_embeddings: 64 },
    }, {
      "model.embed_tokens.weight": [5, 32],
      "model.norm.weight": [32],
      ...inBlock("model.layers.0", {
        ...Object.fromEntries(norms.map((name) => [`${name}.weight`, [32]])),
        ...Object.fromEntries(["q_norm", "k_norm"].map((name) => [`self_attn.${name}.weight`, [16]])),
        ...Object.fromEntries(attention.map((name) => [`${name}.weight`, [32, 32]])),
        ...Object.fromEntries(attention.map((name) => [`${name}.bias`, [32]])),
        ...Object.fromEntries(["gate", "up", "down"].map((name) => [`mlp.${name}_proj.weight`, [32, 32]])),
      }),
    });
    const { code, stderr } = await runPare(...command(model, `${model}/out`), "--for", "gguf:q4_0");
    assert.equal(code, 3, stderr);
    assert.match(
      stderr,
      /architecture qwen3 of llama.cpp has no place for model\.layers\.0\.self_attn\.q_proj\.bias/,
    );
    assert.doesNotMatch(stderr, /pruning/);
  });

  const sizes = { hidden_size: 32, num_attention_heads: 2, num_hidden_layers: 1, vocab_size: 5 };
  for (
    const [config, shapes] of [
      [{
        ...{
          model_type: "gpt2",
          n_embd: 32,
          n_head: 2,
          n_inner: 64,
          n_layer: 1,
          n_positions: 64,
          vocab_size: 5,
        },
      }, {
        ...{ "wte.weight": [5, 32], "wpe.weight": [64, 32], "ln_f.weight": [32], "ln_f.bias": [32] },
        ...inBlock("h.0", {
          ...{ "ln_1.weight": [32], "ln_1.bias": [32], "ln_2.weight": [32], "ln_2.bias": [32] },
          ...{ "attn.c_attn.weight": [32, 96], "attn.c_attn.bias": [96] },
          ...{ "attn.c_proj.weight": [32, 32], "attn.c_proj.bias": [32] },
          ...{ "mlp.c_fc.weight": [32, 64], "mlp.c_fc.bias": [64] },
          ...{ "mlp.c_proj.weight": [64, 32], "mlp.c_proj.bias": [32] },
        }),
      }],
      [{ ...sizes, model_type: "falcon", ffn_hidden_size: 64, multi_query: true }, {
        ...{ "transformer.word_embeddings.weight": [5, 32] },
        ...{ "transformer.ln_f.weight": [32], "transformer.ln_f.bias": [32] },
        ...inBlock("transformer.h.0", {
          ...{ "input_layernorm.weight": [32], "input_layernorm.bias": [32] },
          ...{ "self_attention.query_key_value.weight": [64, 32], "self_attention.dense.weight": [32, 32] },
          ...{ "mlp.dense_h_to_4h.weight": [64, 32], "mlp.dense_4h_to_h.weight": [32, 64] },
        }),
      }],
    ] as const
  ) {
    it(`writes layers that pack-quantized cannot store, and a skipped layer in F16: ${config.model_type}`, async () => {
      const model = await randomModel(config, shapes), out = `${model}/out`;
      const done = await succeeded(
        runPare(...command(model, out), "--for", "gguf:q4_0", "--skip", "*.mlp.*"),
      );
      assert.match(
        done.stderr,
        new RegExp(`${config.model_type}, .*: 2 layers in Q4_0 \\(2 with their own codes\\)`),
      );
      assert.match(done.stderr, /2 layers in F16 instead, because they have no codes that fit/);
    });
  }
});

describe("pare prune --for gptq", () => {
  const out = `${folder}/for gptq`, grid = ["--bits", "8", "--group-size", "64"];
  const args = [...command("opt-sotu", out), "--for", "gptq", ...grid];

  it("writes the tensors that pare export makes of the run with --format pack-quantized, and knows that it is finished", async () => {
    await pareJson(...args);
    const written = await readTensors(out);
    const { quantization_config: { bits, group_size } } = JSON.parse(
      await Deno.readTextFile(`${out}/config.json`),
    );
    assert.deepEqual([bits, group_size], [8, 64]);
    const packed = `${folder}/packed`,
      format = ["--format", "pack-quantized", "--symmetric", "--scale-dtype", "F16"];
    await pareJson(...command("opt-sotu", packed), ...grid, ...format);
    await pareJson("export", packed, "--format", "gptq", "--out", `${folder}/exported`);
    assertSame(await readTensors(`${folder}/exported`), written);
    const { already_finished } = await pareJson<{ already_finished: boolean }>(...args);
    assert.equal(already_finished, true);
  });

  it("is what --format gptq writes with the same grid", async () => {
    const same = `${folder}/format gptq`;
    await pareJson(...command("opt-sotu", same), ...grid, "--format", "gptq", "--symmetric");
    assertSame(await readTensors(same), await readTensors(out));
  });

  it("refuses other bits, groups and formats, and layers that are skipped", async () => {
    const refused = async (changed: readonly string[], message: RegExp) => {
      const { code, stderr } = await runPare(...changed);
      assert.equal(code, 2, stderr);
      assert.match(stderr, message);
    };
    await refused(args.with(-3, "3"), /option --bits 3: --for gptq sets it to 4 or 8/);
    await refused(args.with(-1, "48"), /option --group-size 48: --for gptq sets it to 32 or 64 or 128/);
    await refused([...args, "--format", "dense"], /option --format dense: --for gptq sets it to gptq/);
    await refused(
      [...args, "--skip", "*.0.*"],
      /option --format gptq: rounds all linear layers, but \S+ is skipped/,
    );
  });
});
