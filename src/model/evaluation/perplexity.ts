/**
 * Measures the perplexity of a model as the SparseGPT paper does: exp(mean of −log p), where p is the probability that
 * the model gives to the next token of a window. README.md has the whole definition.
 */

import type { Backend } from "../../device/backend.ts";
import { Forward } from "../forward.ts";
import type { ForwardMemory } from "../plan_forward.ts";
import { forEachLogitsChunk, type LogitsChunk } from "../head.ts";
import type { Model } from "../model.ts";
import { crossEntropy } from "../../device/kernels/forward/cross_entropy.ts";
import { asFloat32 } from "../../tensor/host_tensor.ts";

export interface PerplexityOptions {
  readonly seqlen: number;
  /** The number of windows to use, from the start of the text. Defaults to all complete windows. */
  readonly windows?: number;
  /** Called after each step. A step runs one batch of windows through one transformer block, or through the head. */
  readonly progress?: (done: number, total: number) => void;
  readonly memory?: ForwardMemory;
  readonly signal?: AbortSignal;
}

export interface Perplexity {
  readonly perplexity: number;
  readonly windows: number;
  /** The number of predicted tokens: windows · (seqlen − 1). */
  readonly tokens: number;
}

/**
 * Computes the perplexity of `model` on a text.
 * @param tokens the token ids of the whole text
 * @throws {RangeError} if `seqlen` is less than 2 or more than the limit of the model, or if the text is too short
 * @throws the reason of the signal, if it is aborted
 */
export async function computePerplexity(
  model: Model,
  backend: Backend,
  tokens: Uint32Array,
  options: PerplexityOptions,
): Promise<Perplexity> {
  const { seqlen, memory, signal } = options;
  const windows = Array.from(
    { length: countWindows(tokens.length, seqlen, options.windows) },
    (_, i) => tokens.subarray(i * seqlen, (i + 1) * seqlen),
  );
  const forward = await Forward.begin(backend, model, windows, memory);
  try {
    const totalSteps = (model.spec.blockCount + 1) * forward.hiddenStates.batches.length;
    let done = 0;
    const reportStep = () => {
      signal?.throwIfAborted();
      options.progress?.(++done, totalSteps);
    };
    await forward.runBlocks(reportStep);
    const predicted = windows.length * (seqlen - 1);
    const loss = await totalLoss(forward, windows, reportStep);
    return { perplexity: Math.exp(loss / predicted), windows: windows.length, tokens: predicted };
  } finally {
    forward.destroy();
  }
}

/**
 * Returns the number of windows from which a perplexity is computed: that of all complete windows, but at most
 * `maxWindows`.
 * @param tokenCount the number of tokens of the text
 * @throws {RangeError} if the text has no complete window or fewer than `maxWindows`, or if `seqlen` is less than 2
 */
export function countWindows(tokenCount: number, seqlen: number, maxWindows = Infinity): number {
  if (seqlen < 2) throw new RangeError(`perplexity: needs windows of 2 tokens or more, got ${seqlen}`);
  const complete = Math.floor(tokenCount / seqlen);
  if (complete === 0 || (maxWindows !== Infinity && complete < maxWindows)) {
    throw new RangeError(
      `perplexity: the text has ${tokenCount} tokens, which are ${complete} complete windows of ${seqlen}` +
        (complete === 0 ? "" : `, but ${maxWindows} were requested`),
    );
  }
  return Math.min(maxWindows, complete);
}

/** Returns Σ −log p(next token) over all windows, in nats. */
async function totalLoss(
  forward: Forward,
  windows: readonly Uint32Array[],
  onBatchDone: () => void,
): Promise<number> {
  const { tokens } = forward;
  // The last row of a window predicts no token of it. It has the target 0, and its loss is ignored.
  const targets = Uint32Array.from(windows.flatMap((window) => [...window.subarray(1), 0]));
  let total = 0;
  await forEachLogitsChunk(forward, async (chunk) => {
    const { firstRow, rows } = chunk;
    const losses = await chunkLosses(forward, chunk, targets.slice(firstRow, firstRow + rows));
    for (let r = 0; r < rows; r++) if ((firstRow + r + 1) % tokens !== 0) total += losses[r];
  }, onBatchDone);
  return total;
}

/**
 * Computes −log p of one target token per row of a chunk of logits, in nats. p is the probability by the logits.
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
