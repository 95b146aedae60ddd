/** Puts the weights of all experts with one role into one tensor, (experts, rows, cols), as llama.cpp reads them. */

import { ModelError } from "../../base/files/file_error.ts";
import type { PlannedTensor } from "./planned_tensor.ts";

/**
 * @param place the name of the tensor in GGUF
 * @param experts the weights in the order of the experts, which have the same shape
 * @throws {ModelError} if the weights have different types
 */
export function stackExperts(place: string, experts: readonly PlannedTensor[]): PlannedTensor {
  const [{ type, rows, rowsPerChunk, shape, byteLength }] = experts;
  const other = experts.findIndex((expert) => expert.type !== type);
  if (other >= 0) {
    throw new ModelError(
      `${place}: the weight of expert ${other} is not packed as that of expert 0, but one tensor has both; add --round nearest`,
    );
  }
  return {
    name: place,
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
