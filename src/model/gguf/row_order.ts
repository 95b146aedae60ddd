/** The order in which llama.cpp expects the rows of a layer, which may be stored as two tensors. */

import type { RowOrder } from "../checkpoint/row_reader.ts";
import type { BlockTraits, DeltaTraits } from "../families/family.ts";
import { type LinearSpec, roleOf } from "../layer_specs.ts";
import type { Architecture } from "../families/architecture.ts";

/** The rows of a layer that are one tensor in GGUF. */
export interface RowPart {
  /** The name of the tensor in its block, without `.weight` and `.bias`. */
  readonly place: string;
  readonly rows: number;
  /** Undefined if the tensor has all rows of the layer, in their order. */
  readonly order?: RowOrder;
  /** Undefined if the tensor has the columns of the layer, in their order. */
  readonly columns?: ColumnOrder;
}

/** Another order of groups of `size` columns. `order` returns the group of the layer that is a group of the tensor. */
export interface ColumnOrder {
  readonly size: number;
  readonly order: RowOrder;
}

/** Returns the column of the layer that is column `column` of the tensor. */
export function columnOf({ size, order }: ColumnOrder, column: number): number {
  return order(Math.floor(column / size)) * size + column % size;
}

/**
 * @param layer a layer, or the layer of one expert of several with the same role
 * @param place returns the name in GGUF of a layer that is one tensor, by its role
 */
export function rowParts(
  layer: LinearSpec,
  architecture: Architecture,
  traits: BlockTraits,
  place: (role: string) => string,
): RowPart[] {
  const { outFeatures: rows } = layer, role = roleOf(layer), split = architecture.splitLayers?.[role];
  if (!split) {
    const name = place(role);
    const { linear } = traits, isTiled = architecture.rowOrder === "tiled" && name === "ssm_out";
    const columns = isTiled && linear ? { size: linear.valueDim, order: tiledHeads(linear) } : undefined;
    return [{ place: name, rows, order: rowOrderOf(name, architecture, traits), columns }];
  }
  const half = rows / 2;
  return split.places.map((place, part) => ({
    place,
    rows: half,
    order: (row) => split.rows === "alternate" ? 2 * row + part : half * part + row,
  }));
}

/** Returns the order of the rows of a layer or vector. @param name its name in GGUF, such as `attn_q` */
export function rowOrderOf(
  name: string,
  { rowOrder }: Architecture,
  { heads, kvHeads, headDim, linear }: BlockTraits,
): RowOrder | undefined {
  if (rowOrder === "rotary" && (name === "attn_q" || name === "attn_k")) {
    // Row 2i + j of a head is the dimension i of half j, because the dimensions i of both halves rotate together.
    return (row) => {
      const dimension = row % headDim;
      return row - dimension + (dimension % 2) * headDim / 2 + Math.floor(dimension / 2);
    };
  }
  if (rowOrder === "heads" && name === "attn_qkv") {
    // From the query heads of each key head, with the key and the value after them, to all queries, all keys and all values.
    const shared = heads / kvHeads;
    return (row) => {
      const head = Math.floor(row / headDim), other = head - heads;
      const [group, member] = head < heads
        ? [Math.floor(head / shared), head % shared]
        : [other % kvHeads, shared + Math.floor(other / kvHeads)];
      return (group * (shared + 2) + member) * headDim + row % headDim;
    };
  }
  const part = rowOrder === "tiled" && linear ? valueRows(name, linear) : undefined;
  if (!part) return undefined;
  const { first, size } = part, headOf = tiledHeads(linear!);
  return (row) => {
    const head = Math.floor((row - first) / size);
    return row < first ? row : row + (headOf(head) - head) * size;
  };
}

/** Returns the first row of those that belong to value heads, and the rows of each head, if the layer or vector has any. */
function valueRows(
  name: string,
  { keyHeads, keyDim, valueDim }: DeltaTraits,
): { readonly first: number; readonly size: number } | undefined {
  switch (name) {
    case "attn_qkv":
    case "ssm_conv1d.weight":
      return { first: 2 * keyHeads * keyDim, size: valueDim };
    case "attn_gate":
      return { first: 0, size: valueDim };
    case "ssm_beta":
    case "ssm_alpha":
    case "ssm_a":
    case "ssm_dt.bias":
      return { first: 0, size: 1 };
  }
  return undefined;
}

/** Returns the value head of the checkpoint that is value head `head` in GGUF. */
function tiledHeads({ heads, keyHeads }: DeltaTraits): RowOrder {
  return (head) => head % keyHeads * (heads / keyHeads) + Math.floor(head / keyHeads);
}
