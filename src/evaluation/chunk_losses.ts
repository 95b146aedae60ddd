/**
 * Computes how well logits predict given tokens. Perplexity and the likelihoods of zero-shot tasks are both
 * computed from sums of these losses.
 */

import { crossEntropy } from "../kernels/forward/cross_entropy.ts";
import type { Forward } from "../models/forward.ts";
import type { LogitsChunk } from "../models/head.ts";
import { asFloat32 } from "../tensor/host_tensor.ts";

/**
 * Computes −log p of one target token per row of a chunk of logits, in nats. p is the probability of the
 * token by the logits of the row.
 * @param targets (rows) token ids
 * @returns (rows) f32
 */
export async function chunkLosses(
  { backend, workspace, model: { spec } }: Forward,
  { logits, rows }: LogitsChunk,
  targets: Uint32Array<ArrayBuffer>,
): Promise<Float32Array> {
  const targetBuffer = workspace.buffer("targets", rows);
  backend.write(targetBuffer, 0, new Uint8Array(targets.buffer, targets.byteOffset, targets.byteLength));
  const loss = workspace.buffer("loss", rows);
  const params = { rows, cols: spec.vocabSize, ld: spec.vocabSize };
  backend.dispatch(crossEntropy, { logits, targets: targetBuffer, loss }, params);
  return asFloat32(await backend.read(loss, 0, rows * 4));
}
