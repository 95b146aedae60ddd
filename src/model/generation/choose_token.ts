/** Chooses the next token of a text from its logits. */

import { z } from "zod";
import type { Checkpoint } from "../checkpoint/checkpoint.ts";
import type { FileSystem } from "../../base/files/file_system.ts";
import { ModelError } from "../../base/files/file_error.ts";
import { readJson } from "../../base/files/whole_file.ts";
import { stopAtFault } from "../../base/stop_at_fault.ts";

/** How a token is drawn at random. */
export interface Sampling {
  /** The logits are divided by this number, which is positive. A larger one makes rare tokens more frequent. */
  readonly temperature: number;
  /** Only the most likely tokens whose probabilities together reach this number are drawn, 0 < p ≤ 1. Defaults to 1. */
  readonly topP?: number;
  /** Only so many of the most likely tokens are drawn. By default, the number is not limited. */
  readonly topK?: number;
  /** Returns random numbers that are uniformly distributed in [0, 1). */
  random(): number;
}

/** Returns the id of the most likely token. Of equally likely ones, it has the smallest id. */
export function mostLikelyToken(logits: Float32Array): number {
  let best = 0;
  for (let id = 1; id < logits.length; id++) if (logits[id] > logits[best]) best = id;
  return best;
}

/** Draws a token. `topK` is applied before `topP`, as in transformers. */
export function drawToken(logits: Float32Array, { temperature, topP = 1, topK, random }: Sampling): number {
  const largest = logits[mostLikelyToken(logits)];
  const weights = Float64Array.from(logits, (logit) => Math.exp((logit - largest) / temperature));
  const ids = Uint32Array.from(weights.keys()).sort((a, b) => weights[b] - weights[a] || a - b).subarray(
    0,
    topK,
  );
  const limit = topP * sumOf(ids, weights);
  let count = 0;
  for (let sum = 0; count < ids.length && sum < limit; count++) sum += weights[ids[count]];
  const candidates = ids.subarray(0, count);
  let rest = random() * sumOf(candidates, weights);
  for (const id of candidates) {
    rest -= weights[id];
    if (rest < 0) return id;
  }
  return candidates[count - 1]; // Rounding errors may leave a rest.
}

function sumOf(ids: Uint32Array, weights: Float64Array): number {
  return ids.reduce((sum, id) => sum + weights[id], 0);
}

/** The file with the settings of generation. Older checkpoints have these settings in config.json. */
const GENERATION_FILE = "generation_config.json";

const tokenId = z.int().min(0);
const schema = z.object({ eos_token_id: z.union([tokenId, stopAtFault(z.array(tokenId))]).nullish() });

/**
 * Returns the ids of the tokens that end a text. The set is empty if the checkpoint names none.
 * @throws {ModelError} if a setting is malformed
 */
export async function readEndTokens(
  { folder, files, config }: Pick<Checkpoint, "folder" | "files" | "config">,
  fs: FileSystem,
): Promise<ReadonlySet<number>> {
  const path = `${folder}/${GENERATION_FILE}`;
  const settings = files.includes(GENERATION_FILE) ? parse(await readJson(fs, path), path) : {};
  const ids = settings.eos_token_id ?? parse(config, `${folder}/config.json`).eos_token_id ?? [];
  return new Set(typeof ids === "number" ? [ids] : ids);
}

function parse(settings: unknown, path: string): z.infer<typeof schema> {
  const result = schema.safeParse(settings);
  if (result.success) return result.data;
  throw new ModelError(`${path}: eos_token_id must be the id of a token, or a list of ids`);
}
