/**
 * Prunes a gpt-oss whose experts are stored in MXFP4, as those of the published models are. The result must be that of its dense copy, and
 * transformers must load it and compute the logits that Pare computes.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { LLAMA, sampleWindows, type Settings } from "../../scripts/fixtures/family_models.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { linearLayers } from "../../src/prune/block_plan.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { runPare, succeeded } from "../cli/run_pare.ts";
import { assertClose } from "../support/assert_close.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { readTensors, writeFiles } from "../support/checkpoint_files.ts";
import { windowLogits } from "../support/logits.ts";
import { memoize } from "../support/memoize.ts";
import { readGguf } from "../support/read_gguf.ts";
import { TINY_TOKENIZER } from "../support/tiny_tokenizer.ts";
import { describePeers } from "./describe_peers.ts";

/** Rows of experts are whole groups of 32 codes. */
const CONFIG: Settings = {
  ...{ ...LLAMA, model_type: "gpt_oss", hidden_size: 64, intermediate_size: 32, head_dim: 16 },
  ...{ num_local_experts: 4, num_experts_per_tok: 2, sliding_window: 5, tie_word_embeddings: false },
};
const WINDOWS = sampleWindows(16), GROUP = 32;

/** The numbers of the codes of E2M1 without the sign. */
const E2M1 = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** Returns the tensors that store a weight of all experts, (experts, inputs, outputs), rounded to nearest. */
function inMxfp4(name: string, { shape, dtype, data }: HostTensor): Record<string, HostTensor> {
  const [experts, inputs, outputs] = shape, values = bytesToFloats(data, dtype as FloatDtype);
  const groups = inputs / GROUP, scales: number[] = [], blocks: number[] = [];
  for (let row = 0; row < experts * outputs; row++) {
    const expert = Math.floor(row / outputs), output = row % outputs;
    for (let group = 0; group < groups; group++) {
      const weights = Array.from(
        { length: GROUP },
        (_, i) => values[(expert * inputs + group * GROUP + i) * outputs + output],
      );
      const exponent = Math.ceil(Math.log2(Math.max(...weights.map(Math.abs)) / E2M1.at(-1)!));
      const codes = weights.map((weight) => {
        const distances = E2M1.map((number) => Math.abs(Math.abs(weight) / 2 ** exponent - number));
        return distances.indexOf(Math.min(...distances)) + (weight < 0 ? 8 : 0);
      });
      scales.push(exponent + 127);
      for (let i = 0; i < GROUP; i += 2) blocks.push(codes[i] + 16 * codes[i + 1]);
    }
  }
  return {
    [`${name}_blocks`]: {
      dtype: "U8",
      shape: [experts, outputs, groups, GROUP / 2],
      data: Uint8Array.from(blocks),
    },
    [`${name}_scales`]: { dtype: "U8", shape: [experts, outputs, groups], data: Uint8Array.from(scales) },
  };
}

await describePeers("a gpt-oss with experts in MXFP4", (peers) => {
  /** Makes the model, and returns its folder. */
  const makeStored = memoize(async (name: string) => {
    const made = `${peers().folder}/made`, folder = `${peers().folder}/${name}`;
    await peers().ask("transformers_model", {
      folder: made,
      config: CONFIG,
      windows: WINDOWS,
      dtype: "bfloat16",
    });
    const { tensors } = decode(await Deno.readFile(`${made}/model.safetensors`));
    const config = await Deno.readTextFile(`${made}/config.json`);
    await Deno.mkdir(folder);
    await writeFiles(folder, {
      // Parsing the text would turn 7.0 into 7, which transformers refuses.
      "config.json": config.replace("{", '{"quantization_config": {"quant_method": "mxfp4"},'),
      "tokenizer.json": TINY_TOKENIZER,
      "model.safetensors": Object.assign(
        {},
        ...[...tensors].map(([name, tensor]) =>
          /experts\.(gate_up|down)_proj$/.test(name) ? inMxfp4(name, tensor) : { [name]: tensor }
        ),
      ),
    });
    return folder;
  });

  /** Makes the dense copy of the model, and returns its folder. */
  const makeDense = memoize(async (name: string) => {
    const stored = await makeStored("stored"), folder = `${peers().folder}/${name}`;
    await succeeded(runPare("unpack", stored, "--out", folder));
    await Deno.copyFile(`${stored}/tokenizer.json`, `${folder}/tokenizer.json`);
    return folder;
  });

  /** Prunes the model `folder`, and returns the folder of the result. */
  const prune = memoize(async (folder: string) => {
    const text = `${peers().folder}/text.txt`, out = `${folder} pruned`;
    await Deno.writeTextFile(text, "ab a bab aab b ba ".repeat(40));
    const calibration = ["--calibration", text, "--samples", "8", "--seqlen", "16", "--backend", "cpu"];
    await succeeded(
      runPare("prune", folder, "--out", out, "--method", "sparsegpt", "--sparsity", "0.5", ...calibration),
    );
    return out;
  });

  it("is pruned to the tensors of its pruned dense copy, with zeros in half of the weights of every layer", async () => {
    const stored = await makeStored("stored"), dense = await makeDense("dense");
    const out = await prune(stored), tensors = await readTensors(out);
    assertSame(tensors, await readTensors(await prune(dense)));
    assert.equal(JSON.parse(await Deno.readTextFile(`${out}/config.json`)).quantization_config, undefined);
    await using opened = await openModelFolder(out, denoFileSystem);
    for (const { name, rows, cols } of linearLayers(opened.model.spec)) {
      const { data, dtype } = tensors[name];
      const zeros = bytesToFloats(data, dtype as FloatDtype).filter((value) => value === 0).length;
      // MXFP4 has zeros of its own, so a layer may have more.
      assert.ok(zeros >= rows * cols / 2 && zeros < 0.6 * rows * cols, `${name}: ${zeros}`);
    }
  });

  it("is exported to the tensors of the GGUF file of its dense copy", async () => {
    const folders = [await makeStored("stored"), await makeDense("dense")];
    const tensors = await Promise.all(folders.map(async (folder) => {
      const file = `${folder}.gguf`;
      await succeeded(runPare("export", folder, "--format", "gguf:bf16", "--out", file));
      return readGguf(await Deno.readFile(file)).tensors;
    }));
    assert.deepEqual(tensors[0], tensors[1]);
    assert.deepEqual(tensors[0].get("blk.1.ffn_up_exps.weight")!.shape, [4, 32, 64]);
  });

  eachBackend("compared with transformers", (backend) => {
    for (const isPruned of [false, true]) {
      it(`has the same logits ${isPruned ? "after" : "before"} it is pruned`, async () => {
        const stored = await makeStored("stored"), folder = isPruned ? await prune(stored) : stored;
        const { logits } = await peers().ask<{ logits: number[][][] }>("transformers_model", {
          folder,
          windows: WINDOWS,
        });
        await using opened = await openModelFolder(folder, denoFileSystem);
        for (const [i, window] of WINDOWS.entries()) {
          assertClose(
            await windowLogits(opened.model, backend(), Uint32Array.from(window)),
            logits[i].flat(),
            1e-5,
          );
        }
      });
    }
  });
});
