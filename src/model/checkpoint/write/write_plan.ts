/** Plans a checkpoint that is written: which tensors each weight file has, and from where their bytes come. */

import type { FileSystem } from "../../../base/files/file_system.ts";
import { encodeHeader, type TensorSpec } from "../../../tensor/safetensors/encode.ts";
import { BYTES_PER_ELEMENT } from "../../../tensor/dtype.ts";
import { type Checkpoint, CONFIG_FILE, readConfigText } from "../checkpoint.ts";
import {
  countWeightFileBytes,
  formatWeightIndex,
  INDEX_FILE,
  type Shard,
  type WeightFile,
  WEIGHTS_FILE,
} from "../weight_files.ts";
import { joinExperts, splitWritten } from "../fused_experts.ts";
import type { TensorSource } from "../tensor_source.ts";
import { isCopiedFile } from "./partial_folder.ts";

export interface WritePlan {
  /** The checkpoint from which all files are copied that are not in the plan. It must stay open. */
  readonly checkpoint: Checkpoint;
  readonly weightFiles: readonly WeightFile[];
  /** Files with tensors that only an unfinished copy has. Their headers are empty. */
  readonly workFiles?: readonly WeightFile[];
  /** The bytes of the planned tensors that `OpenCopy.replace` does not write. */
  readonly tensors: TensorSource;
  /** The content of the other files that are not copied, by name. */
  readonly files: ReadonlyMap<string, () => Promise<Uint8Array>>;
}

/** Returns the files of an unfinished copy that have tensors. */
export function tensorFiles({ weightFiles, workFiles = [] }: WritePlan): readonly WeightFile[] {
  return [...weightFiles, ...workFiles];
}

/** Plans a copy in which every file and every header has the same bytes as in `checkpoint`. */
export function planCopy(checkpoint: Checkpoint): WritePlan {
  const { shards, indexFile } = checkpoint.weights;
  const files = new Map(indexFile && [[INDEX_FILE, indexFile]]);
  return { checkpoint, weightFiles: shards, tensors: checkpoint, files };
}

/** The differences between a checkpoint and a copy with other tensors. */
export interface NewLayout {
  /** Returns the tensors of the file that replaces a weight file. */
  tensorsOf(shard: Shard): readonly TensorSpec[];
  readonly tensors: TensorSource;
  readonly config: Readonly<Record<string, unknown>>;
}

/** Plans a copy of `checkpoint` with the same number of weight files, in which the tensors have another layout. */
export function planLayout(
  checkpoint: Checkpoint,
  fs: FileSystem,
  { tensorsOf, tensors, config }: NewLayout,
): WritePlan {
  const weightFiles = checkpoint.shards.map((shard) => layOut(shard, tensorsOf(shard)));
  const files = new Map([[CONFIG_FILE, async () => {
    const original = await readConfigText(fs, checkpoint.folder);
    return new TextEncoder().encode(formatConfig(original, checkpoint.config, config));
  }]]);
  if (weightFiles.length !== 1 || weightFiles[0].name !== WEIGHTS_FILE) {
    files.set(INDEX_FILE, () => Promise.resolve(formatWeightIndex(weightFiles)));
  }
  return { checkpoint, weightFiles, tensors, files };
}

/** Tensors with wide dtypes come first, so that programs that map the file into memory find every tensor aligned. */
export function layOut(shard: Shard, tensors: readonly TensorSpec[]): WeightFile {
  const { name, mode, header, wholeTensors } = shard;
  const stored = wholeTensors ? joinExperts(shard, tensors) : tensors;
  const widestFirst = stored.toSorted((a, b) => BYTES_PER_ELEMENT[b.dtype] - BYTES_PER_ELEMENT[a.dtype]);
  const { bytes, dataBytes, tensors: infos } = encodeHeader(widestFirst, header.metadata);
  const written = { tensors: infos, metadata: header.metadata, headerBytes: bytes.byteLength, dataBytes };
  return {
    name,
    mode,
    ...splitWritten(written, wholeTensors ? tensors : []),
    readHeaderBytes: () => Promise.resolve(bytes),
  };
}

/** Lists the files that are copied unchanged. @param extraFiles the names of files that the caller writes */
export function copiedFiles(
  { checkpoint, files }: WritePlan,
  extraFiles: readonly string[],
): string[] {
  return checkpoint.files.filter((name) =>
    isCopiedFile(name) && !files.has(name) && !extraFiles.includes(name)
  );
}

/** Lists the names of all files. */
export function plannedFiles(plan: WritePlan, extraFiles: readonly string[]): ReadonlySet<string> {
  const names = plan.weightFiles.map(({ name }) => name);
  return new Set([...names, ...plan.files.keys(), ...copiedFiles(plan, extraFiles), ...extraFiles]);
}

/** Returns the bytes of each file without `extraFiles`, by its name. */
export async function countPlannedBytes(
  plan: WritePlan,
  fs: FileSystem,
  extraFiles: readonly string[],
): Promise<Map<string, number>> {
  const bytes = new Map(plan.weightFiles.map((file) => [file.name, countWeightFileBytes([file])]));
  for (const [name, read] of plan.files) bytes.set(name, (await read()).byteLength);
  for (const name of copiedFiles(plan, extraFiles)) {
    const file = await fs.open(`${plan.checkpoint.folder}/${name}`);
    bytes.set(name, file.byteLength);
    await file.close();
  }
  return bytes;
}

/** The parts of the standard library that TypeScript does not declare yet: access to the source text of a number. */
interface JsonWithSource {
  parse(
    text: string,
    reviver: (key: string, value: unknown, context: { readonly source?: string }) => unknown,
  ): unknown;
  rawJSON(text: string): unknown;
}

/**
 * Returns the text of `changed`, a changed config.json. JavaScript reads the numbers 30 and 30.0 as the same value and
 * would write both as 30, but transformers 5 refuses an integer for some floating-point settings. Unchanged settings
 * therefore keep the digits of the original file. The text is indented by two spaces and with a newline at the end.
 * @param original the text of the file from which `config` was parsed
 * @param changed the members of `config`, some of which are replaced, added or removed. A member that is the same
 * value as in `config` counts as unchanged
 */
export function formatConfig(
  original: string,
  config: Readonly<Record<string, unknown>>,
  changed: Readonly<Record<string, unknown>>,
): string {
  const { parse, rawJSON } = JSON as unknown as JsonWithSource;
  const withDigits = parse(
    original,
    (_, value, { source }) => typeof value === "number" && source !== undefined ? rawJSON(source) : value,
  ) as Record<string, unknown>;
  const members = Object.entries(changed).map(([key, value]) => [
    key,
    Object.hasOwn(config, key) && config[key] === value ? withDigits[key] : value,
  ]);
  return JSON.stringify(Object.fromEntries(members), null, 2) + "\n";
}
