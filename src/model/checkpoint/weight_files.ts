/**
 * The weight files of a checkpoint: one file, or several shards with an index that maps each tensor to its shard. They are found by their
 * names. If a folder has the weights in several forms, Pare chooses in the order of the transformers library.
 */

import { z } from "zod";
import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem, ReadableFile } from "../../base/files/file_system.ts";
import { formatJson, readJson } from "../../base/files/whole_file.ts";
import { stopAtFault } from "../../base/stop_at_fault.ts";
import type { SafetensorsHeader, TensorInfo } from "../../tensor/safetensors/header.ts";
import { elementCount } from "../../tensor/dtype.ts";

/** A safetensors file to write. */
export interface WeightFile {
  readonly name: string;
  /** The permission bits of the file from which it is made. Undefined if the file system has none. */
  readonly mode?: number;
  readonly header: SafetensorsHeader;
  /** Returns the first `header.headerBytes` bytes of the file. */
  readHeaderBytes(): Promise<Uint8Array<ArrayBuffer>>;
  /** The tensors of the file by the names of their slices, if `header` lists slices of tensors (`fused_experts.ts`). */
  readonly wholeTensors?: ReadonlyMap<string, TensorInfo>;
}

/** An open weight file of any format. It describes the safetensors file that its copy will be. */
export interface Shard extends WeightFile {
  readonly file: ReadableFile;
  /** Returns the offset in `file` of the first byte of a tensor of `header`. */
  position(tensor: TensorInfo): number;
}

/** Adds up the sizes of weight files, headers included. */
export function countWeightFileBytes(files: readonly WeightFile[]): number {
  return files.reduce((sum, { header }) => sum + header.headerBytes + header.dataBytes, 0);
}

export const WEIGHTS_FILE = "model.safetensors";
export const INDEX_FILE = "model.safetensors.index.json";

/** The limits of an index. It has about 100 bytes per tensor, and the largest mixtures of experts have 150,000 tensors. */
export const INDEX_BOUNDS = { maxBytes: 64 << 20, maxValues: 2 ** 19 };

/** The file names of one format: the single weight file, and the index of a sharded checkpoint. */
export interface FileFormat {
  readonly weights: string;
  readonly index: string;
}

/** The supported formats, in order of preference. */
export const FILE_FORMATS: readonly FileFormat[] = [
  { weights: WEIGHTS_FILE, index: INDEX_FILE },
  { weights: "pytorch_model.bin", index: "pytorch_model.bin.index.json" },
];

const indexSchema = z.object({ weight_map: stopAtFault(z.record(z.string(), z.string())) });

/** Chooses the format to read. Returns undefined if there are no supported weights. */
export function findWeightFiles(
  files: readonly string[],
): { format: FileFormat; isSharded: boolean } | undefined {
  for (const format of FILE_FORMATS) {
    if (files.includes(format.weights)) return { format, isSharded: false };
    if (files.includes(format.index)) return { format, isSharded: true };
  }
  return undefined;
}

/**
 * Reads the names of the shards from the index of `folder`, which contains `files`. They are sorted.
 * @throws {ModelError} if the index is malformed or names a shard that is not in `files`. A shard in another folder is never
 * in `files`, so an index cannot make Pare read outside the folder.
 */
export async function readShardNames(
  fs: FileSystem,
  folder: string,
  files: readonly string[],
  index: string,
): Promise<string[]> {
  const parsed = indexSchema.safeParse(await readJson(fs, `${folder}/${index}`, INDEX_BOUNDS));
  if (!parsed.success) throw new ModelError(`${folder}/${index}: ${z.prettifyError(parsed.error)}`);
  const names = [...new Set(Object.values(parsed.data.weight_map))].sort();
  for (const name of names) {
    if (!files.includes(name)) {
      throw new ModelError(`${folder}: ${index} names the shard ${name}, which is not in the folder`);
    }
  }
  return names;
}

export function formatWeightIndex(files: readonly WeightFile[]): Uint8Array<ArrayBuffer> {
  const places = files.flatMap(({ name, header, wholeTensors }) =>
    header.tensors.map((tensor) => [wholeTensors?.get(tensor.name)?.name ?? tensor.name, name] as const)
  );
  const sorted = places.toSorted(([a], [b]) => a < b ? -1 : 1);
  const total_size = files.reduce((sum, { header }) => sum + header.dataBytes, 0);
  return new TextEncoder().encode(
    formatJson({ metadata: { total_size }, weight_map: Object.fromEntries(sorted) }),
  );
}

/** Adds up the elements of all tensors. */
export function countParameters(files: readonly Pick<WeightFile, "header">[]): number {
  const shapes = files.flatMap(({ header }) => header.tensors.map(({ shape }) => shape));
  return shapes.reduce((sum, shape) => sum + elementCount(shape), 0);
}
