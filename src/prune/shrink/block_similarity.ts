/**
 * Finds the blocks of a model that change the hidden states least (ShortGPT, arXiv 2403.03853). The similarity of a
 * block is the mean over all tokens of the cosine between its input and its output.
 */

import type { Backend } from "../../device/backend.ts";
import { ResourceSet } from "../../device/owned.ts";
import { Forward } from "../../model/forward.ts";
import type { Model } from "../../model/model.ts";

/**
 * Returns the similarity of each block. The hidden states of all windows are in host memory meanwhile.
 * @param onStep called after each batch of windows in each block
 */
export async function blockSimilarities(
  model: Model,
  backend: Backend,
  windows: readonly Uint32Array[],
  onStep?: (done: number, total: number) => void,
): Promise<number[]> {
  using scratch = new ResourceSet();
  const forward = scratch.add(await Forward.begin(backend, model, windows));
  const { hiddenStates } = forward, { blockCount, hiddenSize } = model.spec;
  const states: Float32Array[] = [], similarities: number[] = [];
  await hiddenStates.visitOutputs(() => {}, { from: 0, take: (i, inputs) => void (states[i] = inputs) });
  let done = 0;
  for (let block = 0; block < blockCount; block++) {
    let sum = 0, tokens = 0;
    const take = (i: number, outputs: Float32Array) => {
      sum += sumOfCosines(states[i], outputs, hiddenSize);
      tokens += outputs.length / hiddenSize;
      states[i] = outputs;
    };
    const onBatchDone = () => onStep?.(++done, blockCount * hiddenStates.batches.length);
    await forward.runBlock(block, onBatchDone, undefined, { observer: { from: 0, take } });
    similarities.push(sum / tokens);
  }
  return similarities;
}

/** Returns the sum of the cosines of two vectors of each token, in float64. The cosine with a vector of zeros is 0. */
export function sumOfCosines(a: Float32Array, b: Float32Array, hiddenSize: number): number {
  let sum = 0;
  for (let token = 0; token < a.length; token += hiddenSize) {
    let product = 0, squaresOfA = 0, squaresOfB = 0;
    for (let i = token; i < token + hiddenSize; i++) {
      product += a[i] * b[i];
      squaresOfA += a[i] ** 2;
      squaresOfB += b[i] ** 2;
    }
    if (product !== 0) sum += product / Math.sqrt(squaresOfA * squaresOfB);
  }
  return sum;
}

/** Returns the `count` blocks with the largest similarities, ascending. Of equal ones, the later block is dropped. */
export function mostSimilarBlocks(similarities: readonly number[], count: number): number[] {
  const blocks = [...similarities.keys()].toSorted((a, b) => similarities[b] - similarities[a] || b - a);
  return blocks.slice(0, count).sort((a, b) => a - b);
}
