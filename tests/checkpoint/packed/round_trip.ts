/** Packs a checkpoint and unpacks it again, for tests of each layout. */

import assert from "node:assert/strict";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import {
  packCheckpoint,
  type PackOptions,
  type PackResult,
} from "../../../src/checkpoint/packed/pack_checkpoint.ts";
import { unpackCheckpoint } from "../../../src/checkpoint/packed/unpack_checkpoint.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";
import { patternTensor, writeFiles } from "../../support/checkpoint_files.ts";
import { withTemporaryFolder } from "../../support/temporary_folder.ts";
import { decodePacked, readTensors, withCheckpoint } from "./packed_checkpoints.ts";

/** A packed checkpoint, and its tensors after unpacking. */
export interface Packed {
  readonly tensors: Record<string, HostTensor>;
  readonly config: { readonly quantization_config: { readonly sparsity_config: Record<string, unknown> } };
  readonly result: PackResult;
  /** The tensors after unpacking. */
  readonly dense: Record<string, HostTensor>;
}

/** Packs a checkpoint that consists of `files`, and unpacks it again. */
export function roundTrip(files: Record<string, string | object>, options: PackOptions): Promise<Packed> {
  return withTemporaryFolder(async (folder) => {
    const [source, packed, dense] = ["source", "packed", "dense"].map((name) => `${folder}/${name}`);
    await Deno.mkdir(source);
    await writeFiles(source, { "config.json": { model_type: "opt", torch_dtype: "float16" }, ...files });
    const result = await withCheckpoint(
      source,
      (opened) => packCheckpoint(opened, packed, denoFileSystem, options),
    );
    await withCheckpoint(packed, (opened) => unpackCheckpoint(opened, dense, denoFileSystem));
    const config = JSON.parse(await Deno.readTextFile(`${packed}/config.json`));
    const before = JSON.parse(await Deno.readTextFile(`${source}/config.json`));
    assert.deepEqual(JSON.parse(await Deno.readTextFile(`${dense}/config.json`)), before);
    return { tensors: await readTensors(packed), config, result, dense: await readTensors(dense) };
  });
}

/** Packs and unpacks a weight beside other tensors, and asserts that it is restored. */
export async function roundTripWeight(weight: HostTensor, format: PackOptions["format"]): Promise<Packed> {
  const others = { "a.bias": patternTensor("F16", [3], 5), "b.norm.weight": patternTensor("F32", [5], 6) };
  const before: Record<string, HostTensor> = { ...others, "block.fc1.weight": weight };
  const packed = await roundTrip({ "model.safetensors": before }, { format });
  assert.deepEqual(packed.result.packed, ["block.fc1.weight"]);
  assert.deepEqual(packed.dense, before);
  assert.deepEqual(decodePacked(packed.tensors, "block.fc1.weight"), Uint8Array.from(weight.data));
  return packed;
}

/** Returns a tensor of the dtype and the shape of `tensor`, whose elements have these bits. */
export function words(tensor: HostTensor, values: readonly number[]): HostTensor {
  const data = new Uint8Array((tensor.dtype === "F32" ? Uint32Array : Uint16Array).from(values).buffer);
  return { ...tensor, data };
}

/** Repeats the rows of a matrix `times` times. */
export function stack({ dtype, shape: [rows, cols], data }: HostTensor, times: number): HostTensor {
  const bytes = new Uint8Array(data.length * times);
  for (let i = 0; i < times; i++) bytes.set(data, i * data.length);
  return { dtype, shape: [rows * times, cols], data: bytes };
}
