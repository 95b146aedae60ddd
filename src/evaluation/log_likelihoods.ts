/**
 * Computes the log-likelihood of continuations under a model: Σ log p over their tokens, in nats. Requests of similar length run together
 * as windows that are padded on the right, as many as fit into host memory. Only the rows that predict a token of a continuation are
 * passed to the head.
 */

import type { Backend } from "../backend/backend.ts";
import { crossEntropy } from "../kernels/cross_entropy.ts";
import type { Batch } from "../models/batches.ts";
import { Forward, type ForwardMemory } from "../models/forward.ts";
import { forEachLogits, type LogitsChunk } from "../models/head.ts";
import { AUTO_MEMORY_BYTES } from "../models/hidden_states/hidden_states.ts";
import type { Model } from "../models/model.ts";
import { asFloat32 } from "../tensor/host_tensor.ts";
import type { LikelihoodRequest } from "./encode_request.ts";
import { groupByLength, padRight } from "./window_groups.ts";

/** The likelihood of one continuation. */
export interface Likelihood {
  /** Σ log p over the continuation, in nats. */
  readonly logLikelihood: number;
  /** Whether every token is the most likely one, with ties won by the lowest id. Undefined unless requested. */
  readonly greedy?: boolean;
}

/** Options for the computation. */
export interface LikelihoodOptions {
  /** Also compute `greedy`, which reads the logits back. */
  readonly greedy?: boolean;
  /** Called with the progress. `total` counts each request once per block and once for the head. */
  readonly progress?: (done: number, total: number) => void;
  readonly memory?: ForwardMemory;
  /** Checked between batches. */
  readonly signal?: AbortSignal;
}

/**
 * Returns the likelihood of each request, in order.
 * @throws {RangeError} if a request does not fit the model
 */
export async function logLikelihoods(
  model: Model,
  backend: Backend,
  requests: readonly LikelihoodRequest[],
  options: LikelihoodOptions = {},
): Promise<Likelihood[]> {
  const { signal } = options;
  const likelihoods = new Array<Likelihood>(requests.length);
  const total = requests.length * (model.spec.blockCount + 1);
  let done = 0;
  const step = ({ count }: Batch) => {
    signal?.throwIfAborted();
    options.progress?.(done += count, total);
  };
  const mostTokens = Math.floor(AUTO_MEMORY_BYTES / (model.spec.hiddenSize * 4));
  for (const indices of groupByLength(requests.map(({ tokens }) => tokens.length), mostTokens)) {
    const group = indices.map((index) => requests[index]);
    const scored = await scoreGroup(model, backend, group, step, options);
    for (const [i, index] of indices.entries()) likelihoods[index] = scored[i];
  }
  return likelihoods;
}

/** Runs requests, the longest first, as windows of the length of the longest. */
async function scoreGroup(
  model: Model,
  backend: Backend,
  group: readonly LikelihoodRequest[],
  step: (batch: Batch) => void,
  { memory, greedy }: LikelihoodOptions,
): Promise<Likelihood[]> {
  const length = group[0].tokens.length;
  const forward = await Forward.begin(
    backend,
    model,
    group.map(({ tokens }) => padRight(tokens, length)),
    memory,
  );
  try {
    await forward.runBlocks(step);
    const targets = Uint32Array.from(group.flatMap((request) => [...request.targets]));
    const losses = new Float32Array(targets.length);
    const likeliest = greedy ? new Uint8Array(targets.length) : undefined;
    await forEachLogits(
      forward,
      async (chunk) => {
        const { firstRow, rows } = chunk;
        const wanted = targets.slice(firstRow, firstRow + rows);
        losses.set(await chunkLosses(forward, chunk, wanted), firstRow);
        likeliest?.set(await areLikeliest(forward, chunk, wanted), firstRow);
      },
      step,
      ({ first, count }) =>
        group.slice(first, first + count).map(({ tokens, targets: { length: count } }, window) => (
          { first: window * length + tokens.length - count, count }
        )),
    );
    return collect(group, losses, likeliest);
  } finally {
    forward.destroy();
  }
}

/** Returns −log p of the target of each row. */
async function chunkLosses(
  { backend, workspace, model: { spec } }: Forward,
  { logits, rows }: LogitsChunk,
  wanted: Uint32Array<ArrayBuffer>,
): Promise<Float32Array> {
  const targets = workspace.take("targets", rows), loss = workspace.take("loss", rows);
  backend.write(targets, 0, new Uint8Array(wanted.buffer));
  const params = { rows, cols: spec.vocabSize, ld: spec.vocabSize };
  backend.dispatch(crossEntropy, { logits, targets, loss }, params);
  return asFloat32(await backend.read(loss, 0, rows * 4));
}

/** Returns 1 for each row whose target is the most likely token, else 0. */
async function areLikeliest(
  { backend, model: { spec: { vocabSize } } }: Forward,
  { logits, rows }: LogitsChunk,
  wanted: Uint32Array,
): Promise<Uint8Array> {
  const values = asFloat32(await backend.read(logits, 0, rows * vocabSize * 4));
  return Uint8Array.from(wanted, (target, r) => {
    const row = values.subarray(r * vocabSize, (r + 1) * vocabSize);
    // The target wins if no earlier logit is as large, and no later one is larger.
    return row.every((value, c) => c < target ? value < row[target] : value <= row[target]) ? 1 : 0;
  });
}

/** Adds the rows of each request. */
function collect(
  group: readonly LikelihoodRequest[],
  losses: Float32Array,
  likeliest?: Uint8Array,
): Likelihood[] {
  let row = 0;
  return group.map(({ targets: { length } }) => {
    const end = row + length;
    const logLikelihood = losses.subarray(row, end).reduce((sum, loss) => sum - loss, 0);
    const greedy = likeliest?.subarray(row, end).every((one) => one === 1);
    row = end;
    return { logLikelihood, greedy };
  });
}
