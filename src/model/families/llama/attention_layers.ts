/**
 * The sizes of a block, and its linear layers of attention. Most families have one layer each for q, k and v. Phi-3 and the
 * older families have one layer that computes all three. Both forms have the same interface.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import type { BlockPass } from "../../pieces/block_pass.ts";
import { copyColumns } from "../../pieces/columns.ts";
import { allColumns, type ColumnsView } from "../../pieces/columns_view.ts";
import { applyGroup } from "../../pieces/linear.ts";
import {
  type LinearGroup,
  type LinearOptions,
  linearSpec,
  type NormSpec,
  type VectorSpec,
} from "../../layer_specs.ts";
import type { BlockTraits, SharedKeys } from "../family.ts";

/** Which linear layers of attention have biases. By default none has. */
export interface LlamaBiases {
  readonly qkv?: boolean;
  readonly out?: boolean;
}

export interface LlamaSizes {
  readonly hidden: number;
  /** The number of inputs of the last layer of the feed-forward network. */
  readonly intermediate: number;
  readonly heads: number;
  /** The number of key heads, which is also the number of value heads. */
  readonly kvHeads: number;
  readonly headDim: number;
  /** Whether the values are the keys before their norm, so that no layer computes values. The keys must have a norm. Defaults to false. */
  readonly sharesValues?: boolean;
  /** The keys and values that the block shares with others. A block that is not their source has no layers for keys and values. */
  readonly sharedKeys?: SharedKeys;
}

/** The linear layers of the first half of a block, in groups that share one input. */
interface MixerLayers {
  /** All layers but the last one, in the order in which they run. */
  readonly inputs: readonly LinearGroup[];
  readonly out: LinearGroup;
  /** The numbers of columns of further activations, as in `BlockSpec`. */
  readonly activations?: readonly number[];
  /** The norms between these layers. */
  readonly norms?: readonly NormSpec[];
  /** The sizes by which the layers differ from LLaMA's attention. */
  readonly traits?: Pick<BlockTraits, "latent" | "linear" | "mamba" | "taps">;
}

/** The linear layers of attention. `inputs` compute q, k and v. */
export interface AttentionLayers extends MixerLayers {
  /**
   * Applies `inputs` to `x`, (rows, hidden) f32. In each row of q, of k and of v, the heads are side by side. If there is a `gate`, its
   * sigmoid multiplies the outputs of attention. It has one row per head of each token, with headDim columns. The first columns of two
   * consecutive heads are `headStride` apart, by default headDim.
   */
  projectQkv(
    pass: BlockPass,
    x: DeviceBuffer,
  ): QueriesKeysValues & { gate?: ColumnsView; headStride?: number };
  /** Converts the outputs of attention, (rows, heads · headDim) f32, to the inputs of `out`. By default, they are the same. */
  outputs?(pass: BlockPass, attended: DeviceBuffer): DeviceBuffer;
}

interface QueriesKeysValues {
  readonly q: ColumnsView;
  readonly k: ColumnsView;
  readonly v: ColumnsView;
}

/** The layers of linear attention or of a convolution, which have a state in the place of the keys and values of all tokens. */
export interface LinearAttention extends MixerLayers {
  readonly vectors: readonly VectorSpec[];
  /** Queues all but `out` on `x`, (rows, hidden) f32. Returns the inputs of `out`. */
  attend(pass: BlockPass, x: DeviceBuffer): DeviceBuffer;
}

/**
 * Returns separate layers for q, k and v.
 * @param names as in `LlamaTraits`
 * @param name the name of attention in a block
 */
export function separateQkv(
  sizes: LlamaSizes,
  biases: LlamaBiases = {},
  names: Readonly<Record<string, string>> = {},
  name = "self_attn",
): AttentionLayers {
  const { hidden, heads, kvHeads, headDim, sharesValues, sharedKeys } = sizes;
  const qColumns = heads * headDim, kvColumns = kvHeads * headDim;
  const own = sharedKeys?.isSource === false ? [] : sharesValues ? ["k_proj"] : ["k_proj", "v_proj"];
  const qkv: LinearGroup = [
    linearSpec(`${name}.q_proj`, hidden, qColumns, biases.qkv),
    ...own.map((layer) => linearSpec(`${name}.${layer}`, hidden, kvColumns, biases.qkv)),
  ];
  return {
    inputs: [qkv],
    out: [linearSpec(names["self_attn.o_proj"] ?? `${name}.o_proj`, qColumns, hidden, biases.out)],
    projectQkv(pass, x) {
      const [q, k, v = k] = applyGroup(pass, qkv, x);
      const computed = k && { k: allColumns(k, kvColumns), v: allColumns(v, kvColumns) };
      return { q: allColumns(q, qColumns), ...computed ?? sharedViews(pass, sizes) };
    },
  };
}

/** Returns the places of the keys and values that a block shares with others. */
export function sharedViews(
  { sharedKeys: shared }: BlockPass,
  { kvHeads, headDim, sharedKeys }: LlamaSizes,
): Omit<QueriesKeysValues, "q"> {
  if (!shared || !sharedKeys) throw new TypeError("attention: the pass has no shared keys and values");
  const offset = shared.offset + sharedKeys.column;
  return { k: { ...shared, offset }, v: { ...shared, offset: offset + kvHeads * headDim } };
}

/** Returns separate layers, of which that for q also computes a gate. Its outputs are the query and then the gate of each head. */
export function gatedQkv(sizes: LlamaSizes, biases: LlamaBiases): AttentionLayers {
  const { hidden, heads, headDim } = sizes;
  const { inputs: [[, k, v]], out } = separateQkv(sizes, biases);
  const qkv: LinearGroup = [linearSpec("self_attn.q_proj", hidden, 2 * heads * headDim, biases.qkv), k, v];
  return {
    inputs: [qkv],
    out,
    activations: [heads * headDim],
    projectQkv(pass, x) {
      const [both, keys, values] = applyGroup(pass, qkv, x), headRows = pass.rows * heads;
      const q = pass.workspace.buffer("queries", headRows * headDim), ld = 2 * headDim;
      copyColumns(pass, headRows, headDim, allColumns(both, ld), [allColumns(q, headDim)]);
      return {
        q: allColumns(q, heads * headDim),
        k: allColumns(keys, k.outFeatures),
        v: allColumns(values, v.outFeatures),
        gate: { buffer: both, offset: headDim, ld },
      };
    },
  };
}

/**
 * Returns one layer whose outputs are q, then k, then v.
 * @param names the names of this layer and of the last one
 * @param options the options of both layers, and whether the outputs are divided into heads first. Then each head has its own key
 */
export function fusedQkv(
  { hidden, heads, kvHeads, headDim }: LlamaSizes,
  [name, out]: readonly [qkv: string, out: string] = ["self_attn.qkv_proj", "self_attn.o_proj"],
  { dividesHeads = false, ...options }: LinearOptions & { readonly dividesHeads?: boolean } = {},
): AttentionLayers {
  const qColumns = heads * headDim, kvColumns = kvHeads * headDim, ld = qColumns + 2 * kvColumns;
  const qkv: LinearGroup = [linearSpec(name, hidden, ld, options)];
  const offsets = dividesHeads ? [0, headDim, 2 * headDim] : [0, qColumns, qColumns + kvColumns];
  return {
    inputs: [qkv],
    out: [linearSpec(out, qColumns, hidden, options)],
    projectQkv(pass, x) {
      const [buffer] = applyGroup(pass, qkv, x);
      const [q, k, v] = offsets.map((offset) => ({ buffer, offset, ld }));
      return { q, k, v, headStride: dividesHeads ? 3 * headDim : headDim };
    },
  };
}
