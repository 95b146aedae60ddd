/**
 * What the bytes of a run's result depend on, as short texts by name, so that a run is only ever taken up by the same one and a
 * refusal can say what differs. Large files stand in it by size, time and header: reading them all would take as long as pruning.
 */

import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { readBytes } from "../../files/json_file.ts";
import { formatDigest, sha256 } from "../../protocol/digest.ts";

/** Values by name. */
export type Fingerprint = Readonly<Record<string, string>>;

/** Files of a checkpoint that decide the token ids of a text. */
const TOKENIZER_FILES =
  /^(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json$|^merges\.txt$/;

/** Files whose tensors are read. */
const WEIGHTS = /\.(safetensors|bin)$/;

/** The fingerprint of a checkpoint: its configuration, weights and tokenizer. */
export async function checkpointFingerprint(
  checkpoint: Checkpoint,
  fs: WorkFileSystem,
): Promise<Fingerprint> {
  const values: Record<string, string> = {};
  const config = new TextEncoder().encode(JSON.stringify(checkpoint.config));
  values["model configuration"] = await digest(config);
  for (const shard of checkpoint.shards) {
    values[`header of ${shard.name}`] = await digest(await shard.headerBlock());
  }
  for (const name of checkpoint.files) {
    const path = `${checkpoint.folder}/${name}`;
    if (TOKENIZER_FILES.test(name)) values[name] = await fileDigest(path, fs);
    else if (WEIGHTS.test(name)) {
      const file = await fs.open(path);
      await file.close();
      const modified = new Date(await fs.modified(path)).toISOString();
      values[name] = `${file.byteLength} bytes of ${modified}`;
    }
  }
  return values;
}

/** The digest of a file's bytes. */
export async function fileDigest(path: string, fs: WorkFileSystem): Promise<string> {
  return await digest(await readBytes(fs, path));
}

/** A line for each value that is not the same in both, old and new. */
export function differences(before: Fingerprint, now: Fingerprint): string[] {
  const names = new Set([...Object.keys(before), ...Object.keys(now)]);
  return [...names].filter((name) => before[name] !== now[name])
    .map((name) => `${name} was ${before[name] ?? "absent"} and is ${now[name] ?? "absent"}`);
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return formatDigest(await sha256(bytes));
}
