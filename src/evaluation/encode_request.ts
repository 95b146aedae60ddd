/**
 * Encodes a context and its continuation as token ids, divided in the same way as by lm-evaluation-harness. As in its default for causal
 * models, no special tokens are added.
 */

import type { Tokenizer } from "@huggingface/tokenizers";

/** A request for the likelihood of a continuation. */
export interface LikelihoodRequest {
  /** The input of the model: the context and the continuation without its last token. */
  readonly tokens: Uint32Array;
  /** The tokens of the continuation. The last rows of the output predict them, one row per token. */
  readonly targets: Uint32Array;
}

/**
 * Encodes a request. White space at the end of the context is moved to the continuation. Both are encoded together, and the tokens after
 * those of the context alone are the continuation. If the context is too long, its beginning is cut off.
 * @param maxTokens the longest window of the model
 * @throws {RangeError} if context or continuation has no tokens, or if the continuation alone is longer than the window
 */
export function encodeRequest(
  tokenizer: Tokenizer,
  context: string,
  continuation: string,
  maxTokens: number,
): LikelihoodRequest {
  const bare = context.trimEnd();
  const encode = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const contextTokens = encode(bare).length;
  const whole = Uint32Array.from(encode(context + continuation));
  const targets = whole.subarray(contextTokens);
  if (contextTokens === 0) throw new RangeError(`context ${JSON.stringify(context)}: has no tokens`);
  if (targets.length === 0) throw new RangeError(`choice ${JSON.stringify(continuation)}: has no tokens`);
  if (targets.length > maxTokens) {
    throw new RangeError(`choice of ${targets.length} tokens: the model has positions for ${maxTokens}`);
  }
  return { tokens: whole.subarray(Math.max(0, whole.length - maxTokens - 1), whole.length - 1), targets };
}
