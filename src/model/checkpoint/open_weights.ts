/** Opens the weight files of a checkpoint folder. Each open file is a shard. Only the headers of the files are read, and no tensor data. */

import { SafetensorsError, truncated } from "../../tensor/safetensors/error.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { FileSystem, ReadableFile } from "../../base/files/file_system.ts";
import { readBytes } from "../../base/files/whole_file.ts";
import { splitExperts } from "./fused_experts.ts";
import {
  FILE_FORMATS,
  findWeightFiles,
  formatWeightIndex,
  INDEX_BOUNDS,
  INDEX_FILE,
  readShardNames,
  type Shard,
  WEIGHTS_FILE,
} from "./weight_files.ts";
import { readTorchShard } from "./torch/torch_shard.ts";
import {
  LENGTH_BYTES,
  MAX_CHECKPOINT_HEADER_BYTES,
  parseHeader,
  parseHeaderLength,
  type SafetensorsHeader,
} from "../../tensor/safetensors/header.ts";

export interface Weights {
  readonly shards: readonly Shard[];
  /** Returns the content of {@link INDEX_FILE} for a copy. Absent if the weights are one file, which needs no index. */
  readonly indexFile?: () => Promise<Uint8Array<ArrayBuffer>>;
}

/**
 * Opens the weights in `folder`, which contains `files`. The caller must close the files of all shards.
 * @throws {ModelError} if the folder has no supported weights, or if a weight file is missing or malformed
 */
export async function openWeights(
  fs: FileSystem,
  folder: string,
  files: readonly string[],
): Promise<Weights> {
  const found = findWeightFiles(files);
  if (!found) {
    const names = FILE_FORMATS.flatMap(({ weights, index }) => [weights, index]);
    const gguf = files.find((name) => name.endsWith(".gguf"));
    const reason = gguf === undefined
      ? ""
      : `, but ${gguf}, which llama.cpp runs; pare export makes it from a folder in Hugging Face's format`;
    throw new ModelError(`${folder}: has none of ${names.join(", ")}${reason}`);
  }
  const { format, isSharded } = found;
  const names = isSharded ? await readShardNames(fs, folder, files, format.index) : [format.weights];
  const shards = await openShards(
    fs,
    folder,
    names,
    format.weights === WEIGHTS_FILE ? readSafetensorsShard : readTorchShard,
  );
  const indexFile = () =>
    format.index === INDEX_FILE
      ? readBytes(fs, `${folder}/${INDEX_FILE}`, INDEX_BOUNDS.maxBytes)
      : Promise.resolve(formatWeightIndex(shards));
  return { shards: splitExperts(shards), indexFile: isSharded ? indexFile : undefined };
}

/** The first bytes of a pointer file of git-lfs. */
const LFS_POINTER = "version https://git-lfs";

type ShardReader = (name: string, file: ReadableFile) => Promise<Shard>;

async function openShards(
  fs: FileSystem,
  folder: string,
  names: readonly string[],
  read: ShardReader,
): Promise<Shard[]> {
  const shards: Shard[] = [];
  try {
    for (const name of names) {
      const shard = await openShard(fs, folder, name, read);
      const isTaken = shards.some((earlier) => earlier.name === shard.name);
      shards.push(shard);
      if (isTaken) {
        throw new ModelError(`${folder}: two weight files would be called ${shard.name} in a copy`);
      }
    }
  } catch (error) {
    for (const shard of shards) await shard.file.close();
    throw error;
  }
  return shards;
}

async function openShard(fs: FileSystem, folder: string, name: string, read: ShardReader): Promise<Shard> {
  const file = await fs.open(`${folder}/${name}`);
  try {
    await refusePointer(file);
    return await read(name, file);
  } catch (cause) {
    await file.close();
    if (!(cause instanceof SafetensorsError || cause instanceof ModelError)) throw cause;
    throw new ModelError(`${folder}/${name}: ${cause.message}`, { cause });
  }
}

/** @throws {ModelError} if `file` is a placeholder of git-lfs for a file that was not downloaded */
async function refusePointer(file: ReadableFile): Promise<void> {
  const start = await file.read(0, Math.min(file.byteLength, LFS_POINTER.length));
  if (new TextDecoder().decode(start) !== LFS_POINTER) return;
  throw new ModelError("is a git-lfs pointer, not the weights; fetch them with git lfs pull");
}

/** Reads and checks the header of `file`. No tensor data is read. @throws {SafetensorsError} if the file is malformed or truncated */
async function readSafetensorsShard(name: string, file: ReadableFile): Promise<Shard> {
  const header = await readHeader(file);
  return {
    name,
    file,
    mode: file.mode,
    header,
    readHeaderBytes: () => file.read(0, header.headerBytes),
    position: ({ begin }) => header.headerBytes + begin,
  };
}

async function readHeader(file: ReadableFile): Promise<SafetensorsHeader> {
  requireLength(file, LENGTH_BYTES);
  const jsonBytes = parseHeaderLength(await file.read(0, LENGTH_BYTES), MAX_CHECKPOINT_HEADER_BYTES);
  const headerBytes = LENGTH_BYTES + jsonBytes;
  requireLength(file, headerBytes);
  return parseHeader(await file.read(LENGTH_BYTES, jsonBytes), file.byteLength - headerBytes);
}

function requireLength({ byteLength }: ReadableFile, needed: number): void {
  if (byteLength < needed) throw truncated("header", byteLength, needed);
}
