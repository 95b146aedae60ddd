/** The fingerprint of `pare prune`: what its result depends on, by the names its user knows. */

import type { Backend } from "../../backend/backend.ts";
import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { Checkpoint } from "../../checkpoint/checkpoint.ts";
import type { WorkFileSystem } from "../../files/file_system.ts";
import { checkpointFingerprint, fileDigest, type Fingerprint } from "../../prune/run/fingerprint.ts";
import { VERSION } from "../../protocol/version.ts";
import type { PruneOptions } from "./prune_options.ts";

/** What it is taken of. */
export interface FingerprintSources {
  readonly checkpoint: Checkpoint;
  readonly query: LayerQuery;
  readonly options: PruneOptions;
  /** Tokens a window. */
  readonly seqlen: number;
  /** That of the forwards. */
  readonly backend: Backend;
  readonly fs: WorkFileSystem;
}

/** Reads the texts it covers. Where states are kept, and where layers are solved, change no byte: the journal knows the adapter. */
export async function runFingerprint(
  { checkpoint, query, options, seqlen, backend, fs }: FingerprintSources,
): Promise<Fingerprint> {
  const { samples, seed, layers, skip, minLayer, maxLayer, profile, trueSequential, format } = options;
  const texts = await Promise.all(options.text.map((file) => fileDigest(file, fs)));
  const asked = {
    ...query,
    samples,
    seqlen,
    seed,
    layers,
    skip,
    "min-layer": minLayer,
    "max-layer": maxLayer,
    profile: profile === undefined ? undefined : await fileDigest(profile, fs),
    "true-sequential": trueSequential,
    format,
    text: texts.length === 0 ? undefined : texts,
    windows: options.windows,
  };
  const given = Object.entries(asked).filter(([, value]) => value !== undefined);
  return {
    "pare's version": VERSION,
    ...await checkpointFingerprint(checkpoint, fs),
    "the calibration text": await fileDigest(options.calibration, fs),
    ...Object.fromEntries(given.map(([name, value]) => [`--${name}`, String(value)])),
    "the forward's backend": `${backend.kind} (${backend.adapter.name})`,
  };
}
