/**
 * From hidden states to logits: the final norm and the head, a chunk of rows at a time, because a row of logits is
 * as wide as the vocabulary.
 */

import type { DeviceBuffer } from "../backend/backend.ts";
import type { Batch } from "./batches.ts";
import { DeviceWeights } from "./device_weights.ts";
import type { Forward } from "./forward.ts";
import { applyLinear } from "./pieces/linear.ts";
import { normalize } from "./pieces/norm.ts";

/** Bytes of logits at a time: enough rows for a fast product with any vocabulary. */
const LOGITS_BYTES = 64 << 20;

/** A chunk of logits on the device. */
export interface LogitsChunk {
  /** (rows, vocabSize) f32, valid until the next chunk. */
  readonly logits: DeviceBuffer;
  /** The first row, counted over all windows: window · tokens + token. */
  readonly firstRow: number;
  readonly rows: number;
}

/**
 * Hands `use` the logits of every row, in order, chunk by chunk, each used before the next is queued. Tells `done` when a batch
 * is finished.
 * @throws {ModelError} the weights do not fit the configuration
 */
export async function forEachLogits(
  forward: Forward,
  use: (chunk: LogitsChunk) => void | Promise<void>,
  done?: (batch: Batch) => void,
): Promise<void> {
  const { backend, tokens, workspace, states, model: { spec } } = forward;
  const most = Math.max(1, Math.floor(Math.min(LOGITS_BYTES, backend.maxBufferBytes) / (spec.vocabSize * 4)));
  const head = await loadHead(forward);
  try {
    await states.visit(async (x, batch) => {
      const pass = forward.pass(head, batch);
      const normed = spec.finalNorm ? normalize(pass, spec.finalNorm, x) : x;
      for (let row = 0; row < pass.rows; row += most) {
        const rows = Math.min(most, pass.rows - row);
        const logits = workspace.take("logits", rows * spec.vocabSize);
        applyLinear(pass, spec.head, normed, row, rows, logits);
        await use({ logits, firstRow: batch.first * tokens + row, rows });
      }
    }, done);
  } finally {
    head.destroy();
  }
}

function loadHead({ backend, model }: Forward): Promise<DeviceWeights> {
  const { head, finalNorm } = model.spec;
  return DeviceWeights.load(backend, model.weights, {
    prefix: "",
    linears: [head],
    norms: finalNorm ? [finalNorm] : [],
  });
}
