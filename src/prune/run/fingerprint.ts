/**
 * Computes and compares the fingerprints of runs. A fingerprint maps names to short texts that cover
 * everything on which the bytes of a run's result depend. An unfinished run may be resumed only with the same
 * fingerprint. If the fingerprints differ, the names tell the user what has changed. Large files are
 * represented by their size, time of modification and header, because reading them whole would take as long
 * as pruning.
 */

import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { digestRange } from "../../files/chunks.ts";
import { formatDigest, sha256 } from "../../protocol/digest.ts";

/** Maps the name of each value to its text. */
export type Fingerprint = Readonly<Record<string, string>>;

/** The files of a checkpoint that determine the token ids of a text. */
const TOKENIZER_FILES =
  /^(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json$|^merges\.txt$/;

/** The files of a checkpoint that contain tensors. */
const WEIGHT_FILES = /\.(safetensors|bin)$/;

/**
 * Computes the part of a fingerprint that covers a checkpoint: its configuration, its weights and its
 * tokenizer.
 */
export async function checkpointFingerprint(
  checkpoint: Checkpoint,
  fs: WorkFileSystem,
): Promise<Fingerprint> {
  const values: Record<string, string> = {};
  const config = new TextEncoder().encode(JSON.stringify(checkpoint.config));
  values["model configuration"] = await digest(config);
  for (const shard of checkpoint.shards) {
    values[`header of ${shard.name}`] = await digest(await shard.readHeaderBytes());
  }
  for (const name of checkpoint.files) {
    const path = `${checkpoint.folder}/${name}`;
    if (TOKENIZER_FILES.test(name)) values[name] = await fileDigest(path, fs);
    else if (WEIGHT_FILES.test(name)) {
      const file = await fs.open(path);
      await file.close();
      const modified = new Date(await fs.modified(path)).toISOString();
      values[name] = `${file.byteLength} bytes of ${modified}`;
    }
  }
  return values;
}

/** Computes the digest of a file's bytes. The file may be larger than memory. */
export async function fileDigest(path: string, fs: WorkFileSystem): Promise<string> {
  const file = await fs.open(path);
  try {
    return `sha256:${await digestRange(file, 0, file.byteLength)}`;
  } finally {
    await file.close();
  }
}

/** Describes each value that differs between two fingerprints, one text per value. */
export function differences(previous: Fingerprint, current: Fingerprint): string[] {
  const names = new Set([...Object.keys(previous), ...Object.keys(current)]);
  return [...names].filter((name) => previous[name] !== current[name])
    .map((name) => `${name} was ${previous[name] ?? "absent"} and is ${current[name] ?? "absent"}`);
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return formatDigest(await sha256(bytes));
}
