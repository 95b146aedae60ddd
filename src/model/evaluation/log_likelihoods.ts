/**
 * Computes the log-likelihood of continuations under a model. Requests of similar length run together, and the head
 * computes only the logits that predict a token of a continuation.
 */

import type { Backend } from "../../device/backend.ts";
import type { Batch } from "../batches.ts";
import { Forward } from "../forward.ts";
import type { ForwardMemory } from "../plan_forward.ts";
import { forEachLogitsChunk, type LogitsChunk } from "../head.ts";
import { AUTO_MEMORY_BYTES, countStatesBytes } from "../hidden_states/hidden_states.ts";
import type { Model } from "../model.ts";
import { asFloat32 } from "../../tensor/host_tensor.ts";
import { chunkLosses } from "./text_measurement.ts";
import { bucketByLength, type LikelihoodRequest } from "./encode_request.ts";

/** The likelihood of one continuation. */
export interface Likelihood {
  /** The sum of log p over the tokens of the continuation, in nats. */
  readonly logLikelihood: number;
  /**
   * Whether greedy decoding would generate the continuation. Of equally likely tokens, greedy decoding chooses the one
   * with the lowest id. Undefined if the option `greedy` was not set.
   */
  readonly greedy?: boolean;
}

export interface LikelihoodOptions {
  /** Whether to compute `greedy`, which takes longer because the logits are read back. Defaults to false. */
  readonly greedy?: boolean;
  /** Called after each batch. `done` and `total` count every request once per block and once for the head. */
  readonly progress?: (done: number, total: number) => void;
  readonly memory?: ForwardMemory;
  readonly signal?: AbortSignal;
}

/**
 * Computes the likelihood of each request, in order.
 * @throws {RangeError} if a request is longer than a window of the model, or if a token is not in the vocabulary
 * @throws the reason of the signal, if it is aborted
 */
export async function computeLogLikelihoods(
  model: Model,
  backend: Backend,
  requests: readonly LikelihoodRequest[],
  options: LikelihoodOptions = {},
): Promise<Likelihood[]> {
  const { signal } = options;
  const likelihoods = new Array<Likelihood>(requests.length);
  const total = requests.length * (model.spec.blockCount + 1);
  let done = 0;
  const onBatchDone = ({ count }: Batch) => {
    signal?.throwIfAborted();
    options.progress?.(done += count, total);
  };
  // The hidden states of a bucket must fit into host memory.
  const maxTokens = Math.floor(AUTO_MEMORY_BYTES / countStatesBytes(model.spec, 1, 1));
  for (const indices of bucketByLength(requests.map(({ tokens }) => tokens.length), maxTokens)) {
    const bucket = indices.map((index) => requests[index]);
    const results = await runBucket(model, backend, bucket, onBatchDone, options);
    for (const [i, index] of indices.entries()) likelihoods[index] = results[i];
  }
  return likelihoods;
}

/** Computes the likelihoods of a bucket. All requests are padded to the length of the first, which is the longest. */
async function runBucket(
  model: Model,
  backend: Backend,
  bucket: readonly LikelihoodRequest[],
  onBatchDone: (batch: Batch) => void,
  { memory, greedy }: LikelihoodOptions,
): Promise<Likelihood[]> {
  const length = bucket[0].tokens.length;
  const forward = await Forward.begin(
    backend,
    model,
    bucket.map(({ tokens }) => {
      const padded = new Uint32Array(length); // with zeros at its end, to which no earlier token attends
      padded.set(tokens);
      return padded;
    }),
    memory,
  );
  try {
    await forward.runBlocks(onBatchDone);
    const targets = Uint32Array.from(bucket.flatMap((request) => [...request.targets]));
    const losses = new Float32Array(targets.length);
    const matches = greedy ? new Uint8Array(targets.length) : undefined;
    const pickRows = ({ first, count }: Batch) =>
      bucket.slice(first, first + count).map(({ tokens, targets }, window) => (
        { first: window * length + tokens.length - targets.length, count: targets.length }
      ));
    await forEachLogitsChunk(forward, async (chunk) => {
      const { firstRow, rows } = chunk;
      const chunkTargets = targets.slice(firstRow, firstRow + rows);
      losses.set(await chunkLosses(forward, chunk, chunkTargets), firstRow);
      matches?.set(await greedyMatches(forward, chunk, chunkTargets), firstRow);
    }, { onBatchDone, pickRows });
    return sumPerRequest(bucket, losses, matches);
  } finally {
    forward.destroy();
  }
}

/** Returns 1 for each row whose target greedy decoding would choose, and 0 for the other rows. */
async function greedyMatches(
  { backend, model: { spec: { vocabSize } } }: Forward,
  { logits, rows }: LogitsChunk,
  targets: Uint32Array,
): Promise<Uint8Array> {
  const values = asFloat32(await backend.read(logits, 0, rows * vocabSize * 4));
  return Uint8Array.from(targets, (target, r) => {
    const row = values.subarray(r * vocabSize, (r + 1) * vocabSize);
    // Greedy decoding chooses the target if all earlier logits are smaller and no later logit is larger.
    return row.every((value, c) => c < target ? value < row[target] : value <= row[target]) ? 1 : 0;
  });
}

/** Sums the losses of each request, and checks whether all of its rows match greedy decoding. */
function sumPerRequest(
  bucket: readonly LikelihoodRequest[],
  losses: Float32Array,
  matches?: Uint8Array,
): Likelihood[] {
  let row = 0;
  return bucket.map(({ targets: { length } }) => {
    const end = row + length;
    const logLikelihood = losses.subarray(row, end).reduce((sum, loss) => sum - loss, 0);
    const greedy = matches?.subarray(row, end).every((match) => match === 1);
    row = end;
    return { logLikelihood, greedy };
  });
}
