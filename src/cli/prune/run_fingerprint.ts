/**
 * Computes the fingerprint of a run of `pare prune`. The fingerprint lists everything that the bytes of the
 * result depend on, under names that the user knows. A run is resumed only by a command with the same
 * fingerprint.
 */

import type { Backend } from "../../backend/backend.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { describeRounding } from "../../host/backends.ts";
import { checkpointFingerprint, fileDigest, type Fingerprint } from "../../prune/run/fingerprint.ts";
import type { TextFile } from "../../prune/texts/named_texts.ts";
import { VERSION } from "../../protocol/version.ts";
import type { RunTexts } from "../files/text_source.ts";
import { optionName } from "../options/layer_options.ts";
import type { PruneOptions } from "./prune_options.ts";

/** The values that the fingerprint of a command covers. */
export interface FingerprintSources {
  readonly checkpoint: Checkpoint;
  readonly query: LayerQuery;
  readonly options: PruneOptions;
  readonly texts: RunTexts;
  /** Tokens per window of the calibration text. */
  readonly seqlen: number;
  readonly fs: WorkFileSystem;
}

/**
 * Computes the fingerprint of a command, which does not depend on the machine. It does not contain where hidden states are stored, because
 * this place changes no byte of the result. It does not contain where layers are solved either, because the run's journal records the
 * adapter of each layer.
 */
export async function commandFingerprint(
  { checkpoint, query, options, texts, seqlen, fs }: FingerprintSources,
): Promise<Fingerprint> {
  const { samples, seed, layers, skip, minLayer, maxLayer, profile, allocate, trueSequential, format } =
    options;
  const evaluation = await Promise.all(texts.evaluation.map((text) => textDigest(text, fs)));
  const values = {
    ...query,
    samples,
    seqlen,
    seed,
    layers,
    skip,
    "min-layer": minLayer,
    "max-layer": maxLayer,
    profile: profile === undefined ? undefined : await fileDigest(profile, fs),
    allocate: allocate === "uniform" ? undefined : allocate,
    "true-sequential": trueSequential,
    format,
    text: evaluation.length === 0 ? undefined : evaluation,
    windows: options.windows,
  };
  const given = Object.entries(values).filter(([, value]) => value !== undefined);
  return {
    "pare's version": VERSION,
    ...await checkpointFingerprint(checkpoint, fs),
    "the calibration text": await textDigest(texts.calibration, fs),
    ...Object.fromEntries(given.map(([name, value]) => [`--${optionName(name)}`, String(value)])),
  };
}

/** Describes a text by the digest of its file, and by the name as which the file is read. */
async function textDigest({ name, path }: TextFile, fs: WorkFileSystem): Promise<string> {
  const digest = await fileDigest(path, fs);
  return name === undefined ? digest : `${name}, ${digest}`;
}

/** Adds to the fingerprint of a command the device of the forward passes. A run must go on with an equal device, but it may be finished on any. */
export function runFingerprint(command: Fingerprint, { kind, adapter }: Backend): Fingerprint {
  return { ...command, "the forward's backend": describeRounding({ backend: kind, adapter: adapter.name }) };
}
