/**
 * Measures perplexity as the SparseGPT paper does: the text is tokenized once and cut into windows that do not overlap, and each window is
 * scored on its own. Perplexity is the exponential of the mean negative log-likelihood of all next tokens.
 */

import type { Backend } from "../backend/backend.ts";
import { crossEntropy } from "../kernels/cross_entropy.ts";
import { Forward, type ForwardMemory } from "../models/forward.ts";
import { forEachLogits } from "../models/head.ts";
import type { Model } from "../models/model.ts";
import { asFloat32 } from "../tensor/host_tensor.ts";

/** Options for the measurement. */
export interface PerplexityOptions {
  /** Tokens per window. */
  readonly seqlen: number;
  /** The number of windows to use. Defaults to all complete windows. */
  readonly windows?: number;
  /** Called with the progress. A step is one batch of windows through one block, or through the head. */
  readonly progress?: (done: number, total: number) => void;
  readonly memory?: ForwardMemory;
  /** Checked between batches. */
  readonly signal?: AbortSignal;
}

/** The result. */
export interface Perplexity {
  readonly perplexity: number;
  readonly windows: number;
  /** The number of predicted tokens: windows · (seqlen − 1). */
  readonly tokens: number;
}

/**
 * Returns the perplexity of `model` on a tokenized text.
 * @throws {RangeError} if seqlen is less than 2 or more than the model's positions, or if the text has too few tokens
 */
export async function perplexity(
  model: Model,
  backend: Backend,
  tokens: Uint32Array,
  options: PerplexityOptions,
): Promise<Perplexity> {
  const { seqlen, memory, signal } = options;
  const windows = cutWindows(tokens, seqlen, options.windows);
  const forward = await Forward.begin(backend, model, windows, memory);
  try {
    const steps = (model.spec.blockCount + 1) * forward.states.batches.length;
    let done = 0;
    const step = () => {
      signal?.throwIfAborted();
      options.progress?.(++done, steps);
    };
    await forward.runBlocks(step);
    const scored = windows.length * (seqlen - 1);
    const loss = await totalLoss(forward, windows, step);
    return { perplexity: Math.exp(loss / scored), windows: windows.length, tokens: scored };
  } finally {
    forward.destroy();
  }
}

function cutWindows(tokens: Uint32Array, seqlen: number, most = Infinity): Uint32Array[] {
  if (seqlen < 2) throw new RangeError(`perplexity: needs windows of 2 tokens or more, got ${seqlen}`);
  const whole = Math.floor(tokens.length / seqlen);
  if (whole === 0 || (most !== Infinity && whole < most)) {
    throw new RangeError(
      `perplexity: the text has ${tokens.length} tokens, ${whole} whole windows of ${seqlen}` +
        (whole === 0 ? "" : `, not ${most}`),
    );
  }
  return Array.from(
    { length: Math.min(most, whole) },
    (_, i) => tokens.subarray(i * seqlen, (i + 1) * seqlen),
  );
}

/** Returns Σ −log p(next token) over all windows, in nats. */
async function totalLoss(
  forward: Forward,
  windows: readonly Uint32Array[],
  step: () => void,
): Promise<number> {
  const { backend, tokens, workspace, model: { spec } } = forward;
  let total = 0;
  await forEachLogits(forward, async ({ logits, firstRow, rows }) => {
    const targets = workspace.take("targets", rows);
    backend.write(targets, 0, nextTokens(windows, tokens, firstRow, rows));
    const loss = workspace.take("loss", rows);
    const params = { rows, cols: spec.vocabSize, ld: spec.vocabSize };
    backend.dispatch(crossEntropy, { logits, targets, loss }, params);
    const losses = asFloat32(await backend.read(loss, 0, rows * 4));
    for (let r = 0; r < rows; r++) if (hasNext(firstRow + r, tokens)) total += losses[r];
  }, step);
  return total;
}

/** Returns the target of each row. The last row of a window gets 0, which is not scored. */
function nextTokens(
  windows: readonly Uint32Array[],
  tokens: number,
  firstRow: number,
  rows: number,
): Uint8Array {
  const targets = new Uint32Array(rows);
  for (let r = 0; r < rows; r++) {
    const row = firstRow + r;
    if (hasNext(row, tokens)) targets[r] = windows[Math.floor(row / tokens)][(row % tokens) + 1];
  }
  return new Uint8Array(targets.buffer);
}

function hasNext(row: number, tokens: number): boolean {
  return row % tokens !== tokens - 1;
}
