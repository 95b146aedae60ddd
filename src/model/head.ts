/**
 * Computes logits from hidden states by the final norm, a projection that only some models have, and the head. The logits of all rows would
 * not fit into memory, so they are computed in chunks of rows.
 */

import type { Backend, DeviceBuffer } from "../device/backend.ts";
import type { Batch } from "./batches.ts";
import { DeviceWeights } from "./device_weights.ts";
import type { ModelSpec } from "./families/family.ts";
import type { Forward } from "./forward.ts";
import type { Model } from "./model.ts";
import type { BlockPass } from "./pieces/block_pass.ts";
import { softCap } from "../device/kernels/forward/activate.ts";
import { applyLinear } from "./pieces/linear.ts";
import { normalize } from "./pieces/norm.ts";

/** The bytes of a chunk of logits. Even with a large vocabulary, such a chunk has enough rows for a fast matrix product. */
const LOGITS_BYTES = 64 << 20;

/**
 * Returns the bytes of the weights of the head, of its inputs for a batch, and of a chunk of logits.
 * @param rows the number of rows in a batch
 */
export function countHeadBytes(
  { head, headProjection, hiddenSize, vocabSize }: ModelSpec,
  rows: number,
  maxBufferBytes: number,
): number {
  const weights = [head, ...headProjection ? [headProjection] : []]
    .reduce((sum, { inFeatures, outFeatures }) => sum + 4 * inFeatures * outFeatures, 0);
  const inputs = 4 * rows * (hiddenSize + (headProjection?.outFeatures ?? 0));
  return weights + inputs + 4 * vocabSize * Math.min(rows, maxLogitsRows(vocabSize, maxBufferBytes));
}

function maxLogitsRows(vocabSize: number, maxBufferBytes: number): number {
  return Math.max(1, Math.floor(Math.min(LOGITS_BYTES, maxBufferBytes) / (vocabSize * 4)));
}

export interface LogitsChunk {
  /** (rows, vocabSize) f32, valid until the next chunk is computed. */
  readonly logits: DeviceBuffer;
  /**
   * The number of the chunk's first row. The rows are numbered from 0 across all batches: token t of window w has the number
   * w · tokens + t, where `tokens` is the length of a window.
   */
  readonly firstRow: number;
  readonly rows: number;
  /** Whether it is the last chunk of a batch. */
  readonly endsBatch: boolean;
}

/** Returns the numbers of the first rows of the batches. */
export function batchStarts({ hiddenStates: { batches }, tokens }: Forward): number[] {
  return batches.map(({ first }) => first * tokens);
}

/**
 * Yields the logits of the hidden states in chunks, in the order of the rows. The chunks of a model with equally many rows and an equal
 * vocabulary are the same, if both have the same `starts`.
 * @param starts numbers of rows, in ascending order. Such a row is the first row of a chunk
 * @throws {ModelError} if the weights do not fit the configuration
 */
export async function* logitsChunks(
  forward: Forward,
  starts: readonly number[] = [],
): AsyncGenerator<LogitsChunk, void, undefined> {
  const { backend, hiddenStates, model: { spec } } = forward;
  const maxRows = maxLogitsRows(spec.vocabSize, backend.maxBufferBytes);
  const head = await loadHead(backend, forward.model);
  let firstRow = 0, index = 0;
  try {
    for await (const states of hiddenStates.copies()) {
      const batch = hiddenStates.batches[index++], pass = forward.pass(head, batch);
      const inputs = headInputs(pass, spec, hiddenOf(forward, states, batch));
      for (let row = 0; row < pass.rows;) {
        const nextStart = starts.find((start) => start > firstRow) ?? Infinity;
        const rows = Math.min(maxRows, pass.rows - row, nextStart - firstRow),
          endsBatch = row + rows === pass.rows;
        yield { logits: computeLogits(pass, spec, inputs, row, rows), firstRow, rows, endsBatch };
        firstRow += rows;
        row += rows;
      }
    }
  } finally {
    head.destroy();
  }
}

/** Returns the hidden states of a batch, without the columns that blocks share. */
function hiddenOf(
  { runner, model: { spec } }: Forward,
  states: DeviceBuffer,
  batch: Batch,
): DeviceBuffer {
  return spec.sharedColumns
    ? runner.hiddenOf(states, { offset: 0, count: batch.count }, "hidden states of the head")
    : states;
}

/** Queues computing the inputs of the head from the hidden states `x`, (pass.rows, hidden) f32. */
export function headInputs(pass: BlockPass, spec: ModelSpec, x: DeviceBuffer): DeviceBuffer {
  const { headProjection: projection, finalNorm } = spec,
    normalized = finalNorm ? normalize(pass, finalNorm, x) : x;
  if (!projection) return normalized;
  const y = pass.workspace.buffer(projection.name, pass.rows * projection.outFeatures);
  applyLinear(pass, projection, normalized, 0, pass.rows, y);
  return y;
}

/**
 * Queues computing the logits of rows `row` … `row + rows − 1` of the head's inputs.
 * @returns (rows, vocabSize) f32, valid until logits are computed again
 */
export function computeLogits(
  pass: BlockPass,
  spec: ModelSpec,
  inputs: DeviceBuffer,
  row: number,
  rows: number,
): DeviceBuffer {
  const count = rows * spec.vocabSize, logits = pass.workspace.buffer("logits", count);
  applyLinear(pass, spec.head, inputs, row, rows, logits, { scale: spec.logits?.scale });
  const cap = spec.logits?.softCap;
  if (cap) pass.backend.dispatch(softCap, { x: logits }, { count, cap });
  return logits;
}

/** Loads the weights of the final norm, the projection and the head. */
export function loadHead(backend: Backend, model: Model): Promise<DeviceWeights> {
  const { head, headProjection, finalNorm } = model.spec;
  return DeviceWeights.load(backend, model.weights, {
    prefix: "",
    linears: headProjection ? [headProjection, head] : [head],
    norms: finalNorm ? [finalNorm] : [],
  });
}
