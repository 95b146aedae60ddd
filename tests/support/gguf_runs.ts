/** Runs of `pare prune --for gguf:TYPE` beside runs that write the same weights as a checkpoint in F32. */

import { TENSOR_TYPES } from "../../src/model/gguf/tensor_types.ts";
import { openModelFolder } from "../../src/model/model.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import { pareJson } from "../cli/run_pare.ts";
import { writeFiles } from "./checkpoint_files.ts";

export type KType = "q2_k" | "q3_k" | "q4_k" | "q6_k";

/** Writes a copy of the model in `from` with all tensors in F32 to the new folder `to`. */
export async function copyInFloat32(from: string, to: string): Promise<void> {
  await using opened = await openModelFolder(from, denoFileSystem);
  const { config, shards } = opened.checkpoint, tensors: Record<string, object> = {};
  for (const { name } of shards.flatMap(({ header }) => header.tensors)) {
    const { dtype, shape, data } = await opened.checkpoint.tensor(name);
    tensors[name] = {
      dtype: "F32",
      shape,
      data: new Uint8Array(bytesToFloats(data, dtype as FloatDtype).buffer),
    };
  }
  const { torch_dtype: _, ...others } = config;
  await Deno.mkdir(to);
  await writeFiles(to, { "config.json": { ...others, dtype: "float32" }, "model.safetensors": tensors });
  await Deno.copyFile(`${from}/tokenizer.json`, `${to}/tokenizer.json`);
}

/**
 * Rounds a model in F32 for a K type, once as a GGUF file and once as a checkpoint.
 * @param grouped the end of the names of the layers whose rows are whole super-blocks. The others have the fallback of the type
 * @param options of `pare prune`, without the output
 * @returns the folders of both runs
 */
export async function roundTwice(
  model: string,
  out: string,
  type: KType,
  grouped: string,
  options: readonly string[],
): Promise<{ readonly gguf: string; readonly dense: string }> {
  const { bits, groupSize, symmetric, scaleBits, fallback } = TENSOR_TYPES[type].format;
  const gguf = `${out} gguf`, dense = `${out} dense`, profile = `${out}.json`;
  const grid = { bits, group_size: groupSize, symmetric, scale_bits: scaleBits, blocksize: 256 };
  await Deno.writeTextFile(profile, JSON.stringify([{ match: grouped, ...grid }]));
  await pareJson("prune", model, "--out", gguf, ...options, "--for", `gguf:${type}`);
  await pareJson(
    ...["prune", model, "--out", dense, ...options, "--scale-dtype", "F16", "--symmetric"],
    ...["--bits", String(TENSOR_TYPES[fallback].format.bits), "--group-size", "32", "--profile", profile],
  );
  return { gguf, dense };
}
