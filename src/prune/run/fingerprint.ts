/**
 * Computes and compares the fingerprints of runs. A fingerprint maps names to short texts that cover everything on which the bytes of a
 * run's result depend. An unfinished run may be resumed only with the same fingerprint. Weight files are represented by their size, time of
 * modification and header, because reading them whole would take as long as pruning.
 */

import { basename } from "node:path";
import { describeRounding } from "../../device/backend.ts";
import type { Checkpoint } from "../../model/checkpoint/checkpoint.ts";
import type { WorkFileSystem } from "../../base/files/file_system.ts";
import { digestRange } from "../../base/files/chunks.ts";
import { formatDigest, sha256 } from "../../protocol/digest.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import { VERSION } from "../../protocol/version.ts";
import type { RunOptions } from "../../protocol/run/options.ts";
import { fingerprintOptions, reportedOptions } from "../../protocol/run/run_options.ts";
import { decidesTargets } from "../target_guard.ts";
import type { RunTexts, SharedText, TextFile } from "../texts/named_texts.ts";

export type RunFingerprint = Readonly<Record<string, string>>;

/** Reports that a run in the output folder differs from the requested one. The message names what differs and what helps. */
export class OtherRunError extends Error {
  override readonly name = "OtherRunError";
}

/** The files of a checkpoint that determine the token ids of a text. */
const TOKENIZER_FILES =
  /^(tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab)\.json$|^merges\.txt$/;

const WEIGHT_FILES = /^[^/]+\.(safetensors|bin)$/;

/** Computes the part of a fingerprint that covers a checkpoint: its configuration, its weights and its tokenizer. */
export async function checkpointFingerprint(
  checkpoint: Checkpoint,
  fs: WorkFileSystem,
): Promise<RunFingerprint> {
  const values: Record<string, string> = {};
  const config = new TextEncoder().encode(JSON.stringify(checkpoint.storedConfig));
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
async function fileDigest(path: string, fs: WorkFileSystem): Promise<string> {
  const file = await fs.open(path);
  try {
    return `sha256:${await digestRange(file, 0, file.byteLength)}`;
  } finally {
    await file.close();
  }
}

/** Describes each value that differs between two fingerprints, one text per value. */
export function differences(previous: RunFingerprint, current: RunFingerprint): string[] {
  const names = new Set([...Object.keys(previous), ...Object.keys(current)]);
  return [...names].filter((name) => previous[name] !== current[name])
    .map((name) => `${name} was ${previous[name] ?? "absent"} and is ${current[name] ?? "absent"}`);
}

async function digest(bytes: Uint8Array<ArrayBuffer>): Promise<string> {
  return formatDigest(await sha256(bytes));
}

/** The options of a run, and its target format, which is the name of a row of `pare export`. */
export interface RunSettings extends Partial<RunOptions> {
  readonly for?: string;
}

/** Returns the settings that choose layers and their treatment, by their names in `pare.json`. Defaults are left out. */
export function choiceParameters(options: RunSettings): Record<string, unknown> {
  const { profile } = options, reported = reportedOptions(options);
  return profile === undefined ? reported : { ...reported, profile: basename(profile) };
}

export interface FingerprintSources {
  readonly checkpoint: Checkpoint;
  readonly query: LayerQuery;
  readonly options: RunSettings;
  readonly texts: RunTexts;
  /** Tokens per window of the calibration text. */
  readonly seqlen: number;
  readonly fs: WorkFileSystem;
}

/**
 * Computes the fingerprint of a command, which does not depend on the machine. It does not contain where hidden states
 * are stored, because this place changes no byte of the result. It does not contain where layers are solved either,
 * because the run's journal records the adapter of each layer.
 */
export async function commandFingerprint(
  { checkpoint, query, options, texts, seqlen, fs }: FingerprintSources,
): Promise<RunFingerprint> {
  const { profile } = options;
  const evaluation = await Promise.all(texts.evaluation.map((text) => textDigest(text, fs)));
  const values = {
    ...query,
    ...fingerprintOptions({ ...options, seqlen }),
    ...profile !== undefined && { profile: await fileDigest(profile, fs) },
    text: evaluation.length === 0 ? undefined : evaluation,
    for: options.for,
  };
  const sharedDigest = async (text: SharedText) => {
    const digest = await textDigest(text, fs);
    return texts.calibration.length === 1 ? digest : `${digest}, share ${text.share}`;
  };
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  return {
    "pare's version": VERSION,
    ...await checkpointFingerprint(checkpoint, fs),
    [CALIBRATION_TEXT]: (await Promise.all(texts.calibration.map(sharedDigest))).join("; "),
    ...decidesTargets(options, options.validation ?? 0) && { "the decision about targets": "by block" },
    ...Object.fromEntries(given.map(([name, value]) => [`--${name.replaceAll("_", "-")}`, String(value)])),
  };
}

/** Describes a text by the digest of its file, and by the name as which the file is read. */
async function textDigest({ name, path }: TextFile, fs: WorkFileSystem): Promise<string> {
  const digest = await fileDigest(path, fs);
  return name === undefined ? digest : `${name}, ${digest}`;
}

/** The name of the digests of the calibration texts in the fingerprint of a run. */
export const CALIBRATION_TEXT = "the calibration text";

/** The name of the backend of the forward passes in the fingerprint of a run. */
export const FORWARD_BACKEND = "the forward's backend";

/** Adds to the fingerprint of a command the device of the forward passes. A run must go on with an equal device, but it may be finished on any. */
export function runFingerprint(
  command: RunFingerprint,
  { kind, adapter }: { readonly kind: string; readonly adapter: { readonly name: string } },
): RunFingerprint {
  return { ...command, [FORWARD_BACKEND]: describeRounding({ backend: kind, adapter: adapter.name }) };
}
