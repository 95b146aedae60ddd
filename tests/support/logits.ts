/**
 * Computes the logits of one window (a run of consecutive tokens), for tests that compare them with a
 * reference.
 */

import type { Backend } from "../../src/backend/backend.ts";
import { Forward } from "../../src/models/forward.ts";
import { forEachLogitsChunk } from "../../src/models/head.ts";
import type { Model } from "../../src/models/model.ts";
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
    await forEachLogitsChunk(forward, async ({ logits, firstRow, rows }) => {
      const chunk = await backend.read(logits, 0, rows * vocabSize * 4);
      all.set(asFloat32(chunk), firstRow * vocabSize);
    });
  } finally {
    forward.destroy();
  }
  return all;
}
