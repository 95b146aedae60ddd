/** Small checkpoint folders for tests. */

import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** A tensor with a fixed byte pattern. Different seeds give different patterns. */
export function patternTensor(dtype: "F16" | "F32" | "BF16", shape: number[], seed: number): HostTensor {
  const bytes = shape.reduce((product, extent) => product * extent, dtype === "F32" ? 4 : 2);
  return { dtype, shape, data: Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + seed * 31) % 251) };
}

/**
 * Writes each of `files` into `folder`. A string is written as it is. An object is written as a safetensors file if the
 * file name ends in `.safetensors`, and as JSON otherwise.
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

/** The files of a checkpoint with two shards, an index, a tokenizer file, and weights in a second format. */
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
    "pytorch_model.bin": "the same weights as a pickle",
  };
}

/** Runs `body` with the checkpoint in `folder` and closes the checkpoint. */
export async function withCheckpoint<T>(
  folder: string,
  body: (opened: Checkpoint) => Promise<T>,
): Promise<T> {
  const checkpoint = await openCheckpoint(folder, denoFileSystem);
  try {
    return await body(checkpoint);
  } finally {
    await checkpoint.close();
  }
}

/** Reads all tensors of the checkpoint in `folder`. */
export function readTensors(folder: string): Promise<Record<string, HostTensor>> {
  return withCheckpoint(folder, async (checkpoint) => {
    const tensors: Record<string, HostTensor> = {};
    for (const name of checkpoint.names()) tensors[name] = await checkpoint.tensor(name);
    return tensors;
  });
}
