/** Puts the weights of all experts with one role into one tensor, (experts, rows, cols), as llama.cpp reads them, and their biases. */

import { ModelError } from "../../base/files/file_error.ts";
import type { PlannedTensor } from "./planned_tensor.ts";

/**
 * @param experts the weights or the biases in the order of the experts, which have the same shape, and all the name of the one tensor
 * @throws {ModelError} if the weights have different types
 */
export function stackExperts(experts: readonly PlannedTensor[]): PlannedTensor {
  const [{ name, type, rows, rowsPerChunk, shape, byteLength }] = experts;
  const other = experts.findIndex((expert) => expert.type !== type);
  if (other >= 0) {
    throw new ModelError(
      `${name}: the weight of expert ${other} is not packed as that of expert 0, but one tensor has both; add --round nearest`,
    );
  }
  return {
    name,
    type,
    shape: [experts.length, ...shape],
    byteLength: experts.length * byteLength,
    rows: experts.length * rows,
    rowsPerChunk,
    async encode(first, end) {
      const rowBytes = byteLength / rows, bytes = new Uint8Array((end - first) * rowBytes);
      for (let row = first; row < end;) {
        const expert = Math.floor(row / rows), begin = expert * rows;
        const next = Math.min(end, begin + rows);
        bytes.set(await experts[expert].encode(row - begin, next - begin), (row - first) * rowBytes);
        row = next;
      }
      return bytes;
    },
  };
}
