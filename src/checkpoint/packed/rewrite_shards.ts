/**
 * Writes the weight files of a checkpoint with a new layout. Each shard, which is one weight file, becomes
 * one new file. Every tensor of the old file becomes one or several tensors of the new file. The caller
 * supplies them as `ShardEntry` values, and this file writes the headers, the data and the index. Tensors
 * with wide dtypes come first in a file, so that every tensor starts at a multiple of its element size.
 * Readers that map the file into memory need this alignment.
 */

import type { Shard } from "../shard.ts";
import type { TensorSource } from "../tensor_source.ts";
import { modeOfCopy } from "../partial_folder.ts";
import { formatWeightIndex, INDEX_FILE, WEIGHTS_FILE } from "../weight_files.ts";
import { copyBytes } from "../../files/copy_bytes.ts";
import { encodeHeader, type TensorSpec } from "../../safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { tensorBytes } from "../../tensor/shape.ts";
import type { FolderWriter } from "./folder_writer.ts";

/** Writes `bytes` to the tensor `name` of the new file. `byteOffset` is relative to the start of the tensor. */
export type WritePart = (name: string, byteOffset: number, bytes: Uint8Array) => Promise<void>;

/** The tensors of the new file that one tensor of the old file becomes. */
export interface ShardEntry {
  /** The name of the old tensor, for progress reports. */
  readonly name: string;
  /** The names, dtypes and shapes of the new tensors. */
  readonly specs: readonly TensorSpec[];
  /** Writes every byte of all new tensors. */
  writeTo(write: WritePart): Promise<void>;
}

/** The plan for the new file that replaces a shard. */
export interface ShardPlan {
  readonly shard: Shard;
  readonly entries: readonly ShardEntry[];
}

/** Options for writing the shards. */
export interface RewriteOptions {
  /** Stops the work before the next write. */
  readonly signal?: AbortSignal;
  /**
   * Called after each tensor of the old checkpoint. `name` is the name of this tensor, and `total` is the
   * number of tensors.
   */
  progress?(done: number, total: number, name: string): void;
}

/** Returns the entry that copies the tensor `name` unchanged. */
export function copiedEntry(source: TensorSource, name: string): ShardEntry {
  const { dtype, shape } = source.info(name);
  return {
    name,
    specs: [{ name, dtype, shape }],
    writeTo: (write) =>
      copyBytes(
        (offset, length) => source.read(name, offset, length),
        (offset, bytes) => write(name, offset, bytes),
        tensorBytes(dtype, shape),
      ),
  };
}

/**
 * Writes the new weight files. Writes their index too, unless the only weight file is `model.safetensors`.
 *
 * @returns the bytes of the weight files, headers included
 */
export async function writeShards(
  plans: readonly ShardPlan[],
  writer: FolderWriter,
  { signal, progress }: RewriteOptions,
): Promise<number> {
  const total = plans.reduce((sum, { entries }) => sum + entries.length, 0);
  const shardOfTensor: [string, string][] = [];
  let done = 0, fileBytes = 0, dataBytes = 0;
  for (const { shard, entries } of plans) {
    const header = encodeHeader(widestFirst(entries), shard.header.metadata);
    const begins = new Map(header.tensors.map((info) => [info.name, header.bytes.byteLength + info.begin]));
    const file = await writer.create(shard.name, modeOfCopy(shard.file));
    await file.write(0, header.bytes);
    const write: WritePart = (part, byteOffset, bytes) => {
      signal?.throwIfAborted();
      return file.write(begins.get(part)! + byteOffset, bytes);
    };
    for (const entry of entries) {
      await entry.writeTo(write);
      progress?.(++done, total, entry.name);
    }
    for (const { name } of header.tensors) shardOfTensor.push([name, shard.name]);
    fileBytes += header.bytes.byteLength + header.dataBytes;
    dataBytes += header.dataBytes;
  }
  if (plans.length !== 1 || plans[0].shard.name !== WEIGHTS_FILE) {
    await writer.writeText(INDEX_FILE, formatWeightIndex(shardOfTensor, dataBytes));
  }
  return fileBytes;
}

function widestFirst(entries: readonly ShardEntry[]): TensorSpec[] {
  const specs = entries.flatMap((entry) => entry.specs);
  return specs.sort((a, b) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]); // stable
}
