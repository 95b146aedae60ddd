/**
 * The test model opt-sotu: its checkpoint, its reference numbers, and its texts as tokens. It is a small OPT
 * model that was trained on State of the Union addresses (sotu).
 */

import { after, before } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { type Checkpoint, openCheckpoint } from "../../src/model/checkpoint/checkpoint.ts";
import { fileURLToPath } from "node:url";
import { type Model, openModel } from "../../src/model/model.ts";
import { bytesToFloats, type FloatDtype } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { encodeText, loadTokenizer } from "../../src/model/tokenizer/tokenizer.ts";
import { assertClose } from "./assert_close.ts";
import { type SOTU_PARTS, sotuText } from "../../scripts/fixtures/sotu_text.ts";

/** The URL of the model folder. */
export const OPT_SOTU_URL = new URL("../fixtures/models/opt-sotu/", import.meta.url);
/** The path of the model folder. */
export const OPT_SOTU = fileURLToPath(OPT_SOTU_URL).replace(/\/$/, "");

/** The numbers in `reference.json`, which an independent PyTorch program computed from the weights. */
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
  /** The perplexity of the unpruned model on the first 128 windows of 256 tokens of the evaluation text. */
  readonly perplexity: { readonly dense: number };
}

/** Opens the checkpoint. The caller must close it. */
export function openOptSotu(): Promise<Checkpoint> {
  return openCheckpoint(OPT_SOTU, denoFileSystem);
}

/** Opens the model before the tests of a file or of a description, and closes it after them. The properties are set meanwhile. */
export function useOptSotu(): { readonly checkpoint: Checkpoint; readonly model: Model } {
  const opened = {} as { checkpoint: Checkpoint; model: Model };
  before(async () => {
    opened.checkpoint = await openOptSotu();
    opened.model = openModel(opened.checkpoint);
  });
  after(() => opened.checkpoint.close());
  return opened;
}

/** Sets every other entry of a weight to 0. This stands in for pruning and changes the outputs of the layer a lot. */
export function halved({ dtype, data, shape }: HostTensor): HostTensor {
  const values = bytesToFloats(data, dtype as FloatDtype).map((value, i) => i % 2 === 0 ? value : 0);
  return { dtype: "F32", shape, data: new Uint8Array(values.buffer) };
}

/** Reads the reference numbers. */
export async function readReference(): Promise<OptSotuReference> {
  return JSON.parse(await Deno.readTextFile(`${OPT_SOTU}/reference.json`));
}

/** Reads one part of the texts, such as the evaluation text, and encodes it as token ids. */
export async function sotuTokens(part: keyof typeof SOTU_PARTS): Promise<Uint32Array> {
  return encodeText(await loadTokenizer(OPT_SOTU, denoFileSystem), await sotuText(part), "txt");
}

/** Compares the logits of the first 32 tokens, (tokens, 2048), with those of PyTorch. */
export function assertPublishedLogits(
  logits: Float32Array,
  { logits_first_32_tokens: { values_0_to_15, argmax, logsumexp } }: OptSotuReference,
): void {
  for (const [t, expected] of values_0_to_15.entries()) {
    const row = logits.subarray(t * 2048, (t + 1) * 2048);
    assertClose(row.subarray(0, 16), expected, 1e-4, { scale: 1, label: `logits of token ${t}` });
    assert.equal(row.indexOf(Math.max(...row)), argmax[t]);
    const sum = row.reduce((partial, value) => partial + Math.exp(value), 0);
    assertClose([Math.log(sum)], [logsumexp[t]], 1e-4, { scale: 1, label: `logsumexp of token ${t}` });
  }
}
