/** Tests that weights in FP8, MXFP4 and the formats of compressed-tensors have the bits that transformers and compressed-tensors compute. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { openDense } from "../../src/model/formats/checkpoint/dense_checkpoint.ts";
import { withCheckpoint, writeFiles } from "../support/checkpoint_files.ts";
import { STORED_CASES } from "../support/stored_cases.ts";
import { describePeers } from "./describe_peers.ts";

/** The answer of `dequantize_stored.py`. */
type Dequantized = Readonly<
  Record<string, { readonly dtype: string; readonly shape: readonly number[]; readonly bytes: string }>
>;

const DTYPES: Readonly<Record<string, string>> = { BF16: "bfloat16", F16: "float16", F32: "float32" };

/** transformers reads no checkpoints of MLX, and needs blocks that divide the matrix. GPTQModel and AutoAWQ are not in this environment. */
const isComparable = ({ title }: { readonly title: string }) => !/^gptq|^awq|^mlx|with rests/.test(title);

await describePeers("transformers and compressed-tensors, dequantising a weight", (peers) => {
  for (const { title, config, tensors } of STORED_CASES.filter(isComparable)) {
    it(`compute the bits that Pare reads: ${title}`, async () => {
      const folder = `${peers().folder}/${title}`;
      await Deno.mkdir(folder);
      await writeFiles(folder, { "config.json": config, "model.safetensors": tensors });
      const wanted = await peers().ask<Dequantized>("dequantize_stored", { folder });
      await withCheckpoint(folder, async (stored) => {
        const dense = await openDense(stored), names = [...dense.names()];
        assert.deepEqual(names.toSorted(), Object.keys(wanted).toSorted());
        for (const name of names) {
          const { dtype, shape, data } = await dense.tensor(name);
          assert.deepEqual([DTYPES[dtype], shape, data.toHex()], [
            wanted[name].dtype,
            wanted[name].shape,
            wanted[name].bytes,
          ], name);
        }
      });
    });
  }
});
