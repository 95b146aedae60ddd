/**
 * A context and its continuation as token ids, divided as lm-evaluation-harness divides them. No special tokens are added, as by
 * its default for causal models.
 */

import type { Tokenizer } from "@huggingface/tokenizers";

/** What a model is to be asked. */
export interface Request {
  /** What it is fed: the context and all of the continuation but its last token. */
  readonly tokens: Uint32Array;
  /** The continuation. Its tokens are what the last rows, one each, are to predict. */
  readonly targets: Uint32Array;
}

/**
 * White space at the end of the context goes over to the continuation; both are encoded together, and what is past the
 * tokens of the context alone is the continuation. A context too long loses its beginning.
 * @param maxTokens the longest window of the model
 * @throws {RangeError} either of them has no tokens, or the continuation alone is longer than the window
 */
export function encodeRequest(
  tokenizer: Tokenizer,
  context: string,
  continuation: string,
  maxTokens: number,
): Request {
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
