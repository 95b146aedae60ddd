/** Continues a text, token by token. */

import type { Backend } from "../../device/backend.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { Model } from "../model.ts";
import { drawToken, mostLikelyToken, type Sampling } from "./choose_token.ts";
import { Decoder } from "./decoder.ts";

export interface GenerateOptions {
  /** The largest number of tokens to generate. */
  readonly tokens: number;
  /** The tokens after which the text ends. They are generated too. */
  readonly endTokens?: ReadonlySet<number>;
  /** How tokens are drawn. By default, the most likely token is always chosen. */
  readonly sampling?: Sampling;
  readonly signal?: AbortSignal;
}

/**
 * Yields the tokens after `prompt`, until the number of tokens is reached, an end token was generated, or the model has no more positions.
 * @throws {RangeError} if the prompt is empty, or if the model does not have positions for it and one more token
 * @throws {ModelError} if the weights do not fit the configuration, if an id is not in the vocabulary, or if a logit is not finite
 * @throws {OutOfDeviceMemoryError} {DeviceLostError}
 */
export async function* generate(
  model: Model,
  backend: Backend,
  prompt: Uint32Array,
  { tokens, endTokens, sampling, signal }: GenerateOptions,
): AsyncGenerator<number, void, undefined> {
  const capacity = Math.min(prompt.length + tokens, model.spec.maxTokens);
  if (prompt.length >= capacity) {
    throw new RangeError(
      `prompt of ${prompt.length} tokens: the model has positions for ${model.spec.maxTokens} tokens together with the answer`,
    );
  }
  const decoder = await Decoder.open(backend, model, capacity);
  try {
    let next = prompt;
    for (let length = prompt.length; length < capacity; length++) {
      signal?.throwIfAborted();
      const logits = await decoder.append(next);
      if (!logits.every(Number.isFinite)) {
        throw new ModelError(`the model computes logits that are not finite after ${length} tokens`);
      }
      const token = sampling ? drawToken(logits, sampling) : mostLikelyToken(logits);
      yield token;
      if (endTokens?.has(token)) return;
      next = Uint32Array.of(token);
    }
  } finally {
    decoder.destroy();
  }
}
