/** Computes all logits of one window, for tests that compare a model's output. `perplexity.ts` scores many windows. */

import type { Backend } from "../../src/backend/backend.ts";
import { Forward } from "../../src/models/forward.ts";
import { forEachLogits } from "../../src/models/head.ts";
import type { Model } from "../../src/models/model.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";

/**
 * Runs one window through the whole model.
 * @returns the logits, (tokens, vocabSize) f32; row t predicts the token after token t
 * @throws {RangeError} if the window is empty or too long, or an id is not in the vocabulary
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
    await forEachLogits(forward, async ({ logits, firstRow, rows }) => {
      const chunk = await backend.read(logits, 0, rows * vocabSize * 4);
      all.set(asFloat32(chunk), firstRow * vocabSize);
    });
  } finally {
    forward.destroy();
  }
  return all;
}
