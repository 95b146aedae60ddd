/** Opens the fixture model opt-sotu, and reads its reference numbers and its texts. */

import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { type Checkpoint, openCheckpoint } from "../../src/checkpoint/checkpoint.ts";
import { fileURLToPath } from "node:url";
import { encodeText, loadTokenizer } from "../../src/models/tokenizer/tokenizer.ts";
import { type SOTU_PARTS, sotuText } from "../../scripts/fixtures/sotu_text.ts";

/** The folder of the model, as a URL and as a path. */
export const OPT_SOTU_URL = new URL("../fixtures/models/opt-sotu/", import.meta.url);
export const OPT_SOTU = fileURLToPath(OPT_SOTU_URL).replace(/\/$/, "");

/** The numbers that an independent PyTorch program computed from a fixture model's weights. */
export interface OptSotuReference {
  readonly eval: { readonly tokens: number; readonly first_64_ids: readonly number[] };
  readonly calibration: {
    readonly tokens: number;
    readonly first_8_ids_of_window_0: readonly number[];
    readonly first_8_ids_of_window_63: readonly number[];
  };
  readonly logits_first_32_tokens: {
    readonly values_0_to_15: readonly (readonly number[])[];
    readonly argmax: readonly number[];
    readonly logsumexp: readonly number[];
  };
  /** The perplexity on 128 windows of 256 tokens. */
  readonly perplexity: { readonly dense: number };
}

/** Opens the checkpoint of opt-sotu. */
export function openOptSotu(): Promise<Checkpoint> {
  return openCheckpoint(OPT_SOTU, denoFileSystem);
}

/** Reads the reference numbers of opt-sotu. */
export async function readReference(): Promise<OptSotuReference> {
  return JSON.parse(await Deno.readTextFile(`${OPT_SOTU}/reference.json`));
}

/** Returns the token ids of one part of the texts. */
export async function sotuTokens(part: keyof typeof SOTU_PARTS): Promise<Uint32Array> {
  return encodeText(await loadTokenizer(OPT_SOTU, denoFileSystem), await sotuText(part), "txt");
}
