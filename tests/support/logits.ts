/**
 * Computes the logits of one window (a run of consecutive tokens), for tests that compare them with a
 * reference. `windowLogits` runs all tokens at once, and `decodedLogits` one after the other.
 */

import type { Backend } from "../../src/device/backend.ts";
import { Forward } from "../../src/model/forward.ts";
import { Decoder } from "../../src/model/generation/decoder.ts";
import { logitsChunks } from "../../src/model/head.ts";
import type { Model } from "../../src/model/model.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";

/**
 * Runs one window of token ids through the whole model.
 *
 * @returns the logits, f32 (tokens, vocabSize). Row t predicts the token after token t.
 * @throws {RangeError} if the window is empty or too long, or if an id is not in the vocabulary
 */
export async function windowLogits(
  model: Model,
  backend: Backend,
  window: Uint32Array,
): Promise<Float32Array<ArrayBuffer>> {
  const { vocabSize } = model.spec;
  const all = new Float32Array(window.length * vocabSize);
  const forward = await Forward.begin(backend, model, [window]);
  try {
    await forward.runBlocks();
    for await (const { logits, firstRow, rows } of logitsChunks(forward)) {
      const chunk = await backend.read(logits, 0, rows * vocabSize * 4);
      all.set(asFloat32(chunk), firstRow * vocabSize);
    }
  } finally {
    forward.destroy();
  }
  return all;
}

/** The number of tokens that {@link decodedLogits} runs at once before it goes on one by one. */
const PROMPT = 7;

/**
 * Runs one window through the whole model with stored keys and values: first seven tokens, then three, and then one
 * after the other.
 *
 * @returns the logits that follow each of these steps, f32 (steps, vocabSize)
 */
export async function decodedLogits(
  model: Model,
  backend: Backend,
  window: Uint32Array,
): Promise<Float32Array<ArrayBuffer>> {
  const decoder = await Decoder.open(backend, model, window.length), rows: Float32Array[] = [];
  const ends = [PROMPT, PROMPT + 3];
  while (ends.at(-1)! < window.length) ends.push(ends.at(-1)! + 1);
  try {
    for (const [i, end] of ends.entries()) {
      rows.push(await decoder.append(window.subarray(ends[i - 1] ?? 0, end)));
    }
  } finally {
    decoder.destroy();
  }
  return Float32Array.from(rows.flatMap((row) => [...row]));
}

/** Returns the rows of the logits of a window, (tokens, vocabSize), to which those of {@link decodedLogits} must be equal. */
export function decodedRows(logits: ArrayLike<number>, vocabSize: number): number[] {
  const all = Array.from(logits);
  return [...all.slice((PROMPT - 1) * vocabSize, PROMPT * vocabSize), ...all.slice((PROMPT + 2) * vocabSize)];
}
