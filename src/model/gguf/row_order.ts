/** The order in which llama.cpp expects the rows of a layer, which may be those of two tensors. */

import type { RowOrder } from "../checkpoint/row_reader.ts";
import type { BlockTraits } from "../families/family.ts";
import { type LinearSpec, roleOf } from "../layer_specs.ts";
import type { Architecture } from "./architecture.ts";

/** The rows of a layer that are one tensor in GGUF. */
export interface RowPart {
  /** The name of the tensor in its block, without `.weight` and `.bias`. */
  readonly place: string;
  readonly rows: number;
  /** Undefined if the tensor has all rows of the layer, in their order. */
  readonly order?: RowOrder;
}

/**
 * @param layer a layer, or one of those of several experts with one role
 * @param place returns the name in GGUF of a layer that is one tensor, by its role
 */
export function rowParts(
  layer: LinearSpec,
  architecture: Architecture,
  traits: BlockTraits,
  place: (role: string) => string,
): RowPart[] {
  const { gateAndUp } = architecture.mixture ?? {}, { outFeatures: rows } = layer, role = roleOf(layer);
  if (role !== gateAndUp?.role) {
    const name = place(role);
    return [{ place: name, rows, order: rowOrderOf(name, architecture, traits) }];
  }
  const half = rows / 2;
  return ["ffn_gate_exps", "ffn_up_exps"].map((place, part) => ({
    place,
    rows: half,
    order: (row) => gateAndUp.rows === "alternate" ? 2 * row + part : half * part + row,
  }));
}

/** @param name the name of the layer in GGUF, such as `attn_q` */
function rowOrderOf(
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
