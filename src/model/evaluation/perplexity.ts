/**
 * Measures the perplexity of a model as the SparseGPT paper does: exp(mean of −log p), where p is the probability that
 * the model gives to the next token of a window. Also measures how far its predictions are from those of another model.
 * README.md has the definitions.
 */

import type { Backend } from "../../device/backend.ts";
import { Forward } from "../forward.ts";
import type { ForwardMemory } from "../plan_forward.ts";
import { forEachLogitsChunk, type LogitsChunk } from "../head.ts";
import type { Model } from "../model.ts";
import { crossEntropy } from "../../device/kernels/forward/cross_entropy.ts";
import { klDivergence } from "../../device/kernels/forward/kl_divergence.ts";
import type { Destroyable } from "../../device/owned.ts";
import { asFloat32 } from "../../tensor/host_tensor.ts";
import { ReferenceLogits } from "./reference_logits.ts";

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

/** The figures of a model that was compared with a reference. */
export interface ComparedPerplexity extends Perplexity {
  /**
   * The mean over all predicted tokens of KL(p ‖ q) = Σ p·log(p/q) over the vocabulary, in nats. p are the probabilities that the
   * reference gives the next token, and q those of the model. Absent without a reference.
   */
  readonly divergence?: number;
}

/**
 * Computes the perplexity of `model` on a text.
 * @param tokens the token ids of the whole text
 * @throws the errors of {@link Predictions.compute}
 */
export async function computePerplexity(
  model: Model,
  backend: Backend,
  tokens: Uint32Array,
  options: PerplexityOptions,
): Promise<Perplexity> {
  const predictions = await Predictions.compute(model, backend, tokens, options);
  predictions.destroy();
  return predictions.figures;
}

/** What a model predicts for a text. Other models can be compared with it until the caller destroys it. */
export class Predictions implements Destroyable {
  readonly #forward: Forward;
  readonly #windows: readonly Uint32Array[];

  private constructor(
    forward: Forward,
    windows: readonly Uint32Array[],
    readonly figures: ComparedPerplexity,
  ) {
    this.#forward = forward;
    this.#windows = windows;
  }

  /**
   * Runs the model over the windows of a text.
   * @param tokens the token ids of the whole text
   * @param options.reference the predictions with which those of the model are compared. `reference.fits` must be true
   * @throws {RangeError} if `seqlen` is less than 2 or more than the limit of the model, or if the text is too short
   * @throws the reason of the signal, if it is aborted
   */
  static async compute(
    model: Model,
    backend: Backend,
    tokens: Uint32Array,
    options: PerplexityOptions & { readonly reference?: Predictions },
  ): Promise<Predictions> {
    const { memory, signal, reference } = options, windows = cutWindows(tokens, options);
    const forward = await Forward.begin(backend, model, windows, memory);
    try {
      const totalSteps = (model.spec.blockCount + 1) * forward.hiddenStates.batches.length;
      let done = 0;
      const onBatchDone = () => {
        signal?.throwIfAborted();
        options.progress?.(++done, totalSteps);
      };
      await forward.runBlocks(onBatchDone);
      const predicted = windows.length * (options.seqlen - 1);
      const other = reference === undefined ? undefined : reference.#forward;
      const { loss, divergence } = await measure(forward, windows, onBatchDone, other);
      forward.freeActivations();
      return new Predictions(forward, windows, {
        perplexity: Math.exp(loss / predicted),
        ...reference && { divergence: divergence / predicted },
        windows: windows.length,
        tokens: predicted,
      });
    } catch (error) {
      forward.destroy();
      throw error;
    }
  }

  /** Whether the predictions of `model` for a text can be compared with these: both models have the same tokens. */
  fits(model: Model, tokens: Uint32Array, options: PerplexityOptions): boolean {
    const windows = cutWindows(tokens, options);
    return model.spec.vocabSize === this.#forward.model.spec.vocabSize &&
      windows.length === this.#windows.length &&
      windows.every((window, w) => window.every((id, t) => id === this.#windows[w][t]));
  }

  destroy(): void {
    this.#forward.destroy();
  }
}

function cutWindows(
  tokens: Uint32Array,
  { seqlen, windows }: Pick<PerplexityOptions, "seqlen" | "windows">,
): Uint32Array[] {
  return Array.from(
    { length: countWindows(tokens.length, seqlen, windows) },
    (_, i) => tokens.subarray(i * seqlen, (i + 1) * seqlen),
  );
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

/**
 * Returns Σ −log p(next token) over all windows, in nats, and the sum of the divergences from the predictions of `reference`, which is 0
 * without a reference.
 */
async function measure(
  forward: Forward,
  windows: readonly Uint32Array[],
  onBatchDone: () => void,
  reference?: Forward,
): Promise<{ readonly loss: number; readonly divergence: number }> {
  const { tokens } = forward;
  // The last row of a window predicts no token of it. It has the target 0, and its figures are ignored.
  const targets = Uint32Array.from(windows.flatMap((window) => [...window.subarray(1), 0]));
  const add = (total: number, figures: Float32Array, firstRow: number) =>
    figures.reduce((sum, figure, r) => (firstRow + r + 1) % tokens === 0 ? sum : sum + figure, total);
  await using other = reference && await ReferenceLogits.open(reference);
  let loss = 0, divergence = 0;
  await forEachLogitsChunk(forward, async (chunk) => {
    const { firstRow, rows } = chunk;
    loss = add(loss, await chunkLosses(forward, chunk, targets.slice(firstRow, firstRow + rows)), firstRow);
    if (other) divergence = add(divergence, await chunkDivergences(forward, chunk, other), firstRow);
  }, { onBatchDone, starts: other?.starts });
  return { loss, divergence };
}

/** Computes KL(p ‖ q) for each row of a chunk of logits, in nats. p are the probabilities by the reference, and q those by the logits. */
async function chunkDivergences(
  { backend, workspace, model: { spec } }: Forward,
  { logits, firstRow, rows }: LogitsChunk,
  other: ReferenceLogits,
): Promise<Float32Array> {
  const reference = await other.compute(firstRow, rows), divergence = workspace.buffer("divergence", rows);
  const params = { rows, cols: spec.vocabSize, ld: spec.vocabSize };
  backend.dispatch(klDivergence, { reference, logits, divergence }, params);
  return asFloat32(await backend.read(divergence, 0, rows * 4));
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
