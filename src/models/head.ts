/**
 * Computes logits from hidden states: the final norm, the projection that some models have, and the head. The rows are processed in
 * chunks, because a row of logits is as wide as the vocabulary.
 */

import type { DeviceBuffer } from "../backend/backend.ts";
import type { Batch } from "./batches.ts";
import { DeviceWeights } from "./device_weights.ts";
import type { LinearSpec } from "./families/layer_specs.ts";
import type { Forward } from "./forward.ts";
import type { BlockPass } from "./pieces/block_pass.ts";
import { applyLinear } from "./pieces/linear.ts";
import { normalize } from "./pieces/norm.ts";

/** The bytes of logits in a chunk: enough rows for a fast product with any vocabulary. */
const LOGITS_BYTES = 64 << 20;

/** A chunk of logits on the device. */
export interface LogitsChunk {
  /** (rows, vocabSize) f32, valid until the next chunk. */
  readonly logits: DeviceBuffer;
  /** The index of the first row among all requested rows. If all rows are requested, it is window · tokens + token. */
  readonly firstRow: number;
  readonly rows: number;
}

/** Consecutive rows of a batch. `first` is counted from the start of the batch. */
export interface PositionRange {
  readonly first: number;
  readonly count: number;
}

/**
 * Calls `use` with the logits of all rows, or of the rows that `pick` returns for each batch, in order and chunk by chunk. A chunk is used
 * before the next one is queued. Calls `done` when a batch is finished.
 * @throws {ModelError} if the weights do not fit the configuration
 */
export async function forEachLogits(
  forward: Forward,
  use: (chunk: LogitsChunk) => void | Promise<void>,
  done?: (batch: Batch) => void,
  pick?: (batch: Batch) => readonly PositionRange[],
): Promise<void> {
  const { backend, workspace, model: { spec } } = forward;
  const most = Math.max(1, Math.floor(Math.min(LOGITS_BYTES, backend.maxBufferBytes) / (spec.vocabSize * 4)));
  const head = await loadHead(forward);
  let firstRow = 0;
  try {
    await forward.states.visit(async (states, batch) => {
      const { x, rows: wanted } = pick
        ? gather(forward, states, pick(batch))
        : allRows(forward, states, batch);
      const pass = { ...forward.pass(head, batch), rows: wanted };
      const normed = spec.finalNorm ? normalize(pass, spec.finalNorm, x) : x;
      const inputs = projected(pass, spec.headProjection, normed);
      for (let row = 0; row < wanted; row += most) {
        const rows = Math.min(most, wanted - row);
        const logits = workspace.take("logits", rows * spec.vocabSize);
        applyLinear(pass, spec.head, inputs, row, rows, logits);
        await use({ logits, firstRow, rows });
        firstRow += rows;
      }
    }, done);
  } finally {
    head.destroy();
  }
}

/** Hidden states whose logits are computed, (rows, hidden) f32. */
interface Rows {
  readonly x: DeviceBuffer;
  readonly rows: number;
}

function allRows({ tokens }: Forward, x: DeviceBuffer, { count }: Batch): Rows {
  return { x, rows: count * tokens };
}

/** Copies `ranges` of the states together, because few rows may be requested and the head costs as much as a block. */
function gather(
  { backend, workspace, model: { spec } }: Forward,
  states: DeviceBuffer,
  ranges: readonly PositionRange[],
): Rows {
  const rowBytes = spec.hiddenSize * 4;
  const rows = ranges.reduce((sum, { count }) => sum + count, 0);
  const x = workspace.take("picked states", rows * spec.hiddenSize);
  let row = 0;
  for (const { first, count } of ranges) {
    backend.copy(states, first * rowBytes, x, row * rowBytes, count * rowBytes);
    row += count;
  }
  return { x, rows };
}

function projected(pass: BlockPass, projection: LinearSpec | undefined, x: DeviceBuffer): DeviceBuffer {
  if (!projection) return x;
  const y = pass.workspace.take(projection.name, pass.rows * projection.outFeatures);
  applyLinear(pass, projection, x, 0, pass.rows, y);
  return y;
}

function loadHead({ backend, model }: Forward): Promise<DeviceWeights> {
  const { head, headProjection, finalNorm } = model.spec;
  return DeviceWeights.load(backend, model.weights, {
    prefix: "",
    linears: headProjection ? [headProjection, head] : [head],
    norms: finalNorm ? [finalNorm] : [],
  });
}
