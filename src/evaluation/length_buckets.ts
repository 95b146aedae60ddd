/**
 * Divides requests of different lengths into buckets of similar length. The requests of a bucket are padded
 * to the same length and run through the model together. Each bucket loads the weights of the whole model
 * once. Few buckets therefore load less data, while many buckets need less padding.
 */

/**
 * A request joins a bucket only if its length is at least this share of the longest request in the bucket.
 * This limits the padding.
 */
const MIN_LENGTH_RATIO = 0.75;

/**
 * Divides the indices of `lengths` into buckets. The longest requests come first, both in the list of buckets
 * and in each bucket.
 * @param maxTokens the limit for the tokens of a bucket, including the padding. A request that exceeds the
 * limit has a bucket of its own
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

/**
 * Pads `tokens` with zeros at the end to `length`. The padding does not change the results of the other
 * tokens, because no token attends to later tokens.
 */
export function padRight(tokens: Uint32Array, length: number): Uint32Array {
  const padded = new Uint32Array(length);
  padded.set(tokens);
  return padded;
}
