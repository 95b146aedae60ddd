/** Writes small checkpoint folders for tests. */

import { encode } from "../../src/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** Makes a tensor with a pattern of bytes that depends on `seed`. */
export function patternTensor(dtype: "F16" | "F32" | "BF16", shape: number[], seed: number): HostTensor {
  const bytes = shape.reduce((product, extent) => product * extent, dtype === "F32" ? 4 : 2);
  return { dtype, shape, data: Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + seed * 31) % 251) };
}

/**
 * Writes files into `folder`, by name. A string is written unchanged, the content of a `.safetensors` file is an object of tensors, and
 * any other object is written as JSON.
 */
export async function writeFiles(
  folder: string,
  files: Readonly<Record<string, string | object>>,
): Promise<void> {
  for (const [name, content] of Object.entries(files)) {
    const path = `${folder}/${name}`;
    if (typeof content === "string") await Deno.writeTextFile(path, content);
    else if (name.endsWith(".safetensors")) {
      await Deno.writeFile(path, encode(content as Record<string, HostTensor>, { format: "pt" }));
    } else await Deno.writeTextFile(path, JSON.stringify(content));
  }
}

/** Returns the files of a checkpoint with two shards, an index, a tokenizer file, and a copy of the weights in another format. */
export function shardedCheckpoint(): Record<string, string | object> {
  const first = { a: patternTensor("F16", [3, 5], 1), b: patternTensor("F32", [4], 2) };
  const second = {
    c: patternTensor("BF16", [2, 3], 3),
    d: patternTensor("F16", [7], 4),
    e: patternTensor("F16", [1], 5),
  };
  const names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  const weight_map = Object.fromEntries(
    [first, second].flatMap((shard, i) => Object.keys(shard).map((name) => [name, names[i]])),
  );
  return {
    "config.json": { model_type: "opt" },
    "model.safetensors.index.json": { metadata: { total_size: 1 }, weight_map },
    [names[0]]: first,
    [names[1]]: second,
    "tokenizer.json": '{"version": "1.0" }\n',
    "pytorch_model.bin": "the same weights, pickled",
  };
}
