/** The order in which llama.cpp expects the rows of a tensor. */

import type { RowOrder } from "../checkpoint/row_reader.ts";
import type { BlockTraits } from "../families/family.ts";
import type { Architecture } from "./architecture.ts";

/**
 * Returns the order of the rows of a layer, or undefined if it is that of the checkpoint.
 * @param name the name of the layer in GGUF, such as `attn_q`
 */
export function rowOrderOf(
  name: string,
  { rowOrder }: Architecture,
  { heads, headDim }: BlockTraits,
): RowOrder | undefined {
  if (rowOrder === "rotary" && (name === "attn_q" || name === "attn_k")) {
    // Row 2i + j of a head is the dimension i of half j, because the dimensions i of both halves rotate together.
    return (row) => {
      const dimension = row % headDim;
      return row - dimension + (dimension % 2) * headDim / 2 + Math.floor(dimension / 2);
    };
  }
  if (rowOrder === "heads" && name === "attn_qkv") {
    // From (heads, 3, headDim) to (3, heads, headDim).
    return (row) => {
      const part = Math.floor(row / (heads * headDim)), head = Math.floor(row / headDim) % heads;
      return (head * 3 + part) * headDim + row % headDim;
    };
  }
  return undefined;
}
