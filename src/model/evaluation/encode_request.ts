/**
 * Encodes a context and a continuation as token ids, by the rule of lm-evaluation-harness for causal models. No special
 * tokens are added.
 */

import type { Tokenizer } from "@huggingface/tokenizers";

export interface LikelihoodRequest {
  /** The input of the model: the tokens of the context and of the continuation, without the last token. */
  readonly tokens: Uint32Array;
  /** The tokens of the continuation. The last `targets.length` rows of the logits predict them. */
  readonly targets: Uint32Array;
}

/**
 * Encodes a request. White space at the end of the context counts as part of the continuation. Context and continuation
 * are encoded as one text. If the context alone has n tokens, the continuation starts after the first n tokens of the
 * text. If the request is too long, tokens are removed from the start of the context.
 * @param maxTokens the limit for the tokens of a window
 * @throws {RangeError} if the context or the continuation has no tokens, or if the continuation alone has more than
 * `maxTokens`
 */
export function encodeRequest(
  tokenizer: Tokenizer,
  context: string,
  continuation: string,
  maxTokens: number,
): LikelihoodRequest {
  const trimmedContext = context.trimEnd();
  const encode = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const contextTokens = encode(trimmedContext).length;
  const allTokens = Uint32Array.from(encode(context + continuation));
  const targets = allTokens.subarray(contextTokens);
  if (contextTokens === 0) throw new RangeError(`context ${JSON.stringify(context)}: has no tokens`);
  if (targets.length === 0) throw new RangeError(`choice ${JSON.stringify(continuation)}: has no tokens`);
  if (targets.length > maxTokens) {
    throw new RangeError(`choice of ${targets.length} tokens: the model has positions for ${maxTokens}`);
  }
  const last = allTokens.length - 1;
  return { tokens: allTokens.subarray(Math.max(0, last - maxTokens), last), targets };
}

/** The smallest share of the length of a bucket's longest request that its shortest may have. It limits the padding. */
const MIN_LENGTH_RATIO = 0.75;

/**
 * Divides the indices of `lengths` into buckets of similar length. The weights of the whole model are loaded once per
 * bucket, so fewer buckets load less data, but need more padding. The longest requests come first, both in the list of
 * buckets and in each bucket.
 * @param maxTokens the limit for the tokens of a bucket with the padding. A longer request has a bucket of its own
 */
export function bucketByLength(lengths: readonly number[], maxTokens = Infinity): number[][] {
  const buckets: number[][] = [];
  const longestFirst = [...lengths.keys()].sort((a, b) => lengths[b] - lengths[a] || a - b);
  for (const index of longestFirst) {
    const bucket = buckets.at(-1);
    const longest = bucket ? lengths[bucket[0]] : 0;
    const fits = bucket && (bucket.length + 1) * longest <= maxTokens;
    if (fits && lengths[index] >= MIN_LENGTH_RATIO * longest) bucket.push(index);
    else buckets.push([index]);
  }
  return buckets;
}
