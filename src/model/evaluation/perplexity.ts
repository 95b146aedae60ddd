/**
 * Measures the perplexity of a model as the SparseGPT paper does: exp(mean of −log p), where p is the probability that
 * the model gives to the next token of a window. Also measures how far two models differ in their predictions.
 * README.md has the definitions.
 */

import type { Backend } from "../../device/backend.ts";
import type { ModelSpec } from "../families/family.ts";
import { AUTO_MEMORY_BYTES, countStatesBytes } from "../hidden_states/hidden_states.ts";
import type { Forward } from "../forward.ts";
import type { Model } from "../model.ts";
import { type ForwardMemory, planForward } from "../plan_forward.ts";
import { type ComparedPerplexity, type Part, type Perplexity, TextMeasurement } from "./text_measurement.ts";

export interface PerplexityOptions {
  readonly seqlen: number;
  /** The number of windows to use, from the start of the text. Defaults to all complete windows. */
  readonly windows?: number;
  /** Called after each step. A step runs one batch of windows through one transformer block, or through the head. */
  readonly progress?: (done: number, total: number) => void;
  readonly memory?: ForwardMemory;
  readonly signal?: AbortSignal;
}

/** A model, and the token ids of a whole text by its tokenizer. */
export interface ModelText {
  readonly model: Model;
  readonly tokens: Uint32Array;
}

/**
 * Computes the perplexity of `model` on a text.
 * @param tokens the token ids of the whole text
 * @throws the errors of {@link comparePerplexities}
 */
export async function computePerplexity(
  model: Model,
  backend: Backend,
  tokens: Uint32Array,
  { progress, ...options }: PerplexityOptions,
): Promise<Perplexity> {
  const [figures] = await comparePerplexities([{ model, tokens }], backend, {
    ...options,
    progress: progress && ((_, done, total) => progress(done, total)),
  });
  return figures;
}

interface ComparisonOptions extends Omit<PerplexityOptions, "progress"> {
  /** As in {@link PerplexityOptions}, with the index of the model that the step was for. */
  readonly progress?: (index: number, done: number, total: number) => void;
  /** The number of windows that run through the models at once. @default {@link windowsAtOnce} */
  readonly windowsAtOnce?: number;
}

/**
 * Computes the perplexity of models on a text. The first model is the reference: the predictions of each other model are compared with its
 * predictions, unless the ids of the windows or the sizes of the vocabularies differ.
 * @returns the figures in the order of the models
 * @throws {RangeError} if `seqlen` is less than 2 or more than the limit of a model, or if the text is too short
 * @throws the reason of the signal, if it is aborted
 */
export async function comparePerplexities(
  inputs: readonly ModelText[],
  backend: Backend,
  options: ComparisonOptions,
): Promise<ComparedPerplexity[]> {
  const texts = inputs.map(({ model, tokens }, index) =>
    new TextMeasurement(model, cutWindows(tokens, options), (done, total) => {
      options.signal?.throwIfAborted();
      options.progress?.(index, done, total);
    })
  );
  const [reference, ...others] = texts, compared = others.filter((other) => other.isComparable(reference));
  await measureTogether([reference, ...compared], backend, options);
  for (const other of others) if (!compared.includes(other)) await measureTogether([other], backend, options);
  return texts.map((text) => text.figures(compared.includes(text)));
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
 * Returns the number of windows that run through models at once, so that their hidden states fit into host memory. The states of the first
 * model are kept while another one runs.
 */
export function windowsAtOnce(specs: readonly ModelSpec[], seqlen: number): number {
  const bytes = Math.max(...specs.map((spec) => countStatesBytes(spec, 1, seqlen)));
  return Math.max(1, Math.floor(AUTO_MEMORY_BYTES / (Math.min(specs.length, 2) * bytes)));
}

/** Measures models with the same windows, some at a time. The first model is the reference of the others. */
async function measureTogether(
  texts: readonly TextMeasurement[],
  backend: Backend,
  { seqlen, memory, windowsAtOnce: size = windowsAtOnce(texts.map(({ model }) => model.spec), seqlen) }:
    ComparisonOptions,
): Promise<void> {
  const [reference, ...others] = texts, { length } = reference.windows;
  const parts = Array.from(
    { length: Math.ceil(length / size) },
    (_, i): Part => [i * size, Math.min(length, (i + 1) * size)],
  );
  const run = (text: TextMeasurement, part: Part, kept?: Forward) => {
    const batches = parts.map(([first, end]) =>
      planForward(backend, text.model.spec, end - first, seqlen, memory).batches.length
    );
    return text.run(backend, part, { batches: batches.reduce((sum, count) => sum + count, 0), memory }, kept);
  };
  for (const part of parts) {
    const kept = await run(reference, part);
    try {
      for (const other of others) (await run(other, part, kept)).destroy();
    } finally {
      kept.destroy();
    }
  }
}

/**
 * Returns the number of windows from which a perplexity is computed: all complete windows, but at most `maxWindows`.
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
