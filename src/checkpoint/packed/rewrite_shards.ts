/**
 * A checkpoint written anew shard by shard, each tensor of the old one becoming one or several of the new. What
 * they become is the caller's; here are the headers, the places and the index. Wide dtypes come first in a file, so
 * that every tensor lies at a multiple of its element's size, as readers that map the file need.
 */

import type { Checkpoint } from "../checkpoint.ts";
import { INDEX_FILE, WEIGHTS_FILE } from "../shards.ts";
import type { Shard } from "../shard.ts";
import { encodeHeader, type TensorSpec } from "../../safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import { tensorBytes } from "../../tensor/shape.ts";
import type { FolderWriter } from "./folder_writer.ts";
import { PIECE_BYTES } from "./strips.ts";

/** Writes `bytes` of the tensor of this name at an offset in it. */
export type WritePart = (name: string, byteOffset: number, bytes: Uint8Array) => Promise<void>;

/** Tensors to be, and how their bytes are made: `produce` writes every byte of every one. */
export interface Entry {
  /** Of the tensor it is made from, for progress. */
  readonly name: string;
  readonly specs: readonly TensorSpec[];
  produce(write: WritePart): Promise<void>;
}

/** A file to be, in the place of a shard. */
export interface ShardPlan {
  readonly shard: Shard;
  readonly entries: readonly Entry[];
}

/** How it goes. */
export interface RewriteOptions {
  readonly signal?: AbortSignal;
  /** Called after each tensor of the old checkpoint. */
  progress?(done: number, total: number, name: string): void;
}

/** The tensor `name` as it is. */
export function copied(checkpoint: Checkpoint, name: string): Entry {
  const { dtype, shape } = checkpoint.info(name);
  const total = tensorBytes(dtype, shape);
  return {
    name,
    specs: [{ name, dtype, shape }],
    async produce(write) {
      for (let at = 0; at < total; at += PIECE_BYTES) {
        await write(name, at, await checkpoint.read(name, at, Math.min(PIECE_BYTES, total - at)));
      }
    },
  };
}

/** Writes the shards and, where there is not just the one file, their index. The bytes of the weight files. */
export async function writeShards(
  plans: readonly ShardPlan[],
  writer: FolderWriter,
  { signal, progress }: RewriteOptions,
): Promise<number> {
  const total = plans.reduce((sum, { entries }) => sum + entries.length, 0);
  const weightMap: [string, string][] = [];
  let done = 0, fileBytes = 0, dataBytes = 0;
  for (const { shard, entries } of plans) {
    const header = encodeHeader(widestFirst(entries), shard.header.metadata);
    const begins = new Map(header.tensors.map((info) => [info.name, header.bytes.byteLength + info.begin]));
    const file = await writer.create(shard.name);
    await file.write(0, header.bytes);
    const write: WritePart = (part, byteOffset, bytes) => {
      signal?.throwIfAborted();
      return file.write(begins.get(part)! + byteOffset, bytes);
    };
    for (const entry of entries) {
      await entry.produce(write);
      progress?.(++done, total, entry.name);
    }
    for (const { name } of header.tensors) weightMap.push([name, shard.name]);
    fileBytes += header.bytes.byteLength + header.dataBytes;
    dataBytes += header.dataBytes;
  }
  if (plans.length !== 1 || plans[0].shard.name !== WEIGHTS_FILE) {
    const weight_map = Object.fromEntries(weightMap.sort(([a], [b]) => a < b ? -1 : 1));
    await writer.writeText(INDEX_FILE, toJson({ metadata: { total_size: dataBytes }, weight_map }));
  }
  return fileBytes;
}

/** A JSON file's text. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, null, 2) + "\n";
}

function widestFirst(entries: readonly Entry[]): TensorSpec[] {
  const specs = entries.flatMap((entry) => entry.specs);
  return specs.sort((a, b) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]); // stable
}
