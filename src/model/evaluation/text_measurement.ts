/** Measures a model on a text, one part of its windows after the other, alone or beside another model. */

import type { Backend, DeviceBuffer } from "../../device/backend.ts";
import { crossEntropy } from "../../device/kernels/forward/cross_entropy.ts";
import { klDivergence } from "../../device/kernels/forward/kl_divergence.ts";
import { asFloat32 } from "../../tensor/host_tensor.ts";
import { Forward } from "../forward.ts";
import { batchStarts, type LogitsChunk, logitsChunks } from "../head.ts";
import type { Model } from "../model.ts";
import type { ForwardMemory } from "../plan_forward.ts";

export interface Perplexity {
  readonly perplexity: number;
  readonly windows: number;
  /** The number of predicted tokens: windows · (seqlen − 1). */
  readonly tokens: number;
}

/** The figures of a model that may have been compared with another one, the reference. */
export interface ComparedPerplexity extends Perplexity {
  /**
   * The mean over the same tokens of KL(p ‖ q) = Σ p·log(p/q), in nats. The sum is over the vocabulary, p are the probabilities of the
   * reference and q the probabilities of the model. Absent if the model was not compared.
   */
  readonly divergence?: number;
}

/** The indices of the first window of a part of the text, and of the window after the last one. */
export type Part = readonly [first: number, end: number];

export class TextMeasurement {
  readonly model: Model;
  /** The token ids of all windows of the text. */
  readonly windows: readonly Uint32Array[];
  readonly #progress: (done: number, total: number) => void;
  #done = 0;
  /** The sums over the predicted tokens so far. */
  #loss = 0;
  #divergence = 0;

  /** @param progress called after each step, as in `PerplexityOptions` */
  constructor(
    model: Model,
    windows: readonly Uint32Array[],
    progress: (done: number, total: number) => void,
  ) {
    this.model = model;
    this.windows = windows;
    this.#progress = progress;
  }

  /** Whether both models have the same windows and vocabularies of the same size. */
  isComparable({ model, windows }: TextMeasurement): boolean {
    return model.spec.vocabSize === this.model.spec.vocabSize && windows.length === this.windows.length &&
      windows.every((window, w) => window.every((id, t) => id === this.windows[w][t]));
  }

  /**
   * Runs the windows of a part through the model, and adds their figures.
   * @param batches the number of the batches of all parts, from which the number of steps follows
   * @param reference the reference after its blocks, with the same windows. By default the model is not compared
   * @returns the model after its blocks, which the caller destroys
   */
  async run(
    backend: Backend,
    [first, end]: Part,
    { batches, memory }: { readonly batches: number; readonly memory?: ForwardMemory },
    reference?: Forward,
  ): Promise<Forward> {
    const windows = this.windows.slice(first, end),
      forward = await Forward.begin(backend, this.model, windows, memory);
    const steps = (this.model.spec.blockCount + 1) * batches;
    const onBatchDone = () => this.#progress(++this.#done, steps);
    try {
      await forward.runBlocks(onBatchDone);
      await this.#addFigures(forward, windows, onBatchDone, reference);
      forward.freeActivations();
    } catch (error) {
      forward.destroy();
      throw error;
    }
    return forward;
  }

  async #addFigures(
    forward: Forward,
    windows: readonly Uint32Array[],
    onBatchDone: () => void,
    reference?: Forward,
  ): Promise<void> {
    const { tokens } = forward;
    // The last row of a window predicts no token of it. It has the target 0, and its figures are ignored.
    const targets = Uint32Array.from(windows.flatMap((window) => [...window.subarray(1), 0]));
    const add = (total: number, figures: Float32Array, firstRow: number) =>
      figures.reduce((sum, figure, r) => (firstRow + r + 1) % tokens === 0 ? sum : sum + figure, total);
    const starts = reference
      ? [...batchStarts(forward), ...batchStarts(reference)].sort((a, b) => a - b)
      : [];
    const others = reference && logitsChunks(reference, starts);
    try {
      for await (const chunk of logitsChunks(forward, starts)) {
        const { firstRow, rows } = chunk, other = (await others?.next())?.value;
        const [losses, divergences] = await Promise.all([
          chunkLosses(forward, chunk, targets.slice(firstRow, firstRow + rows)),
          other && chunkDivergences(forward, chunk, other.logits),
        ]);
        this.#loss = add(this.#loss, losses, firstRow);
        if (divergences) this.#divergence = add(this.#divergence, divergences, firstRow);
        if (chunk.endsBatch) onBatchDone();
      }
    } finally {
      await others?.return();
      reference?.freeActivations();
    }
  }

  /** Returns the figures of all windows. @param isCompared whether the model has run beside a reference */
  figures(isCompared: boolean): ComparedPerplexity {
    const windows = this.windows.length, tokens = windows * (this.windows[0].length - 1);
    return {
      perplexity: Math.exp(this.#loss / tokens),
      ...isCompared && { divergence: this.#divergence / tokens },
      windows,
      tokens,
    };
  }
}

/**
 * Computes KL(p ‖ q) for each row of a chunk of logits, in nats. p is from the reference, and q from the logits.
 * @param reference (rows, vocabSize) f32, the logits of the reference
 */
async function chunkDivergences(
  { backend, workspace, model: { spec } }: Forward,
  { logits, rows }: LogitsChunk,
  reference: DeviceBuffer,
): Promise<Float32Array> {
  const divergence = workspace.buffer("divergence", rows);
  const params = { rows, cols: spec.vocabSize, ld: spec.vocabSize };
  backend.dispatch(klDivergence, { reference, logits, divergence }, params);
  return asFloat32(await backend.read(divergence, 0, rows * 4));
}

/**
 * Computes −log p of one target token per row of a chunk of logits, in nats. p is the probability by the logits.
 * @param targets (rows) token ids
 * @returns (rows) f32
 */
async function chunkLosses(
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
