/**
 * Checks that a solved layer is what was asked for. A host or an edge may be another version, may be broken, or
 * may lie, and a layer that is not pruned, or that has another shape, must not get into a model unnoticed.
 */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import { parsePattern, prunedPerRow } from "../../sparsity/pattern.ts";
import { BYTES_PER_ELEMENT } from "../../tensor/dtype.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";
import { MalformedAnswerError } from "../errors.ts";
import type { PrunedLayer } from "../layer_file.ts";

/** The default of the parameter `sparsity` without a pattern n:m. */
const DEFAULT_SPARSITY = 0.5;

/**
 * Checks the shape and the dtype of the pruned weight, and counts its zeros. The positions of the zeros and the
 * other weights are not checked, because that would mean to solve the layer again.
 * @param weight the weight (out, in) before pruning
 * @throws {MalformedAnswerError} if the shape or the dtype is another one, or if the weight has fewer zeros than the
 * query asks for or than the report says
 */
export function checkPruned(
  { weight: pruned, report }: PrunedLayer,
  weight: HostTensor,
  query: LayerQuery,
): void {
  const dtype = query.dtype === undefined || query.dtype === "same" ? weight.dtype : query.dtype;
  const [rows, cols] = weight.shape, { shape } = pruned;
  if (pruned.dtype !== dtype || shape.length !== 2 || shape[0] !== rows || shape[1] !== cols) {
    throw new MalformedAnswerError(
      `answer of /v1/layers: the weight is ${pruned.dtype} [${shape}] instead of ${dtype} [${rows},${cols}]`,
    );
  }
  const zeros = countZeros(pruned), wanted = wantedZeros(query, rows, cols);
  for (
    const [least, source] of [[report.zeros, "its report says"], [wanted, "the query asks for"]] as const
  ) {
    if (zeros >= least) continue;
    throw new MalformedAnswerError(
      `answer of /v1/layers: the weight has ${zeros} zeros, but ${source} ${least}`,
    );
  }
}

/** The number of entries that a layer must have pruned at least. */
function wantedZeros({ pattern = "unstructured", sparsity }: LayerQuery, rows: number, cols: number): number {
  const parsed = parsePattern(pattern);
  if (parsed.kind === "n:m") return rows * prunedPerRow(parsed, cols);
  // All methods prune round(s·rows·cols) entries. Rounding down instead allows for another rounding of the product.
  return Math.floor((sparsity ?? DEFAULT_SPARSITY) * rows * cols);
}

/** Counts the elements of an F32, F16 or BF16 tensor that are 0 or −0. */
function countZeros({ dtype, data }: HostTensor): number {
  const bytes = BYTES_PER_ELEMENT[dtype], aligned = data.byteOffset % bytes === 0 ? data : data.slice();
  const length = aligned.byteLength / bytes;
  const words = bytes === 4
    ? new Uint32Array(aligned.buffer, aligned.byteOffset, length)
    : new Uint16Array(aligned.buffer, aligned.byteOffset, length);
  // A shift drops the sign bit, which is the highest.
  const shift = bytes === 4 ? 1 : 17;
  let zeros = 0;
  for (let i = 0; i < length; i++) if (words[i] << shift === 0) zeros++;
  return zeros;
}
