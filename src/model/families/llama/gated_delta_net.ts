/**
 * Gated DeltaNet (Yang, Kautz and Hatamizadeh, arXiv 2412.06464), the linear attention of Qwen3-Next and Qwen3.5. Names follow transformers'
 * `Qwen3NextGatedDeltaNet` and `Qwen3_5GatedDeltaNet`.
 */

import type { DeviceBuffer } from "../../../device/backend.ts";
import type { Activation, BlockPass } from "../../pieces/block_pass.ts";
import { allColumns, type ColumnsView } from "../../pieces/columns_view.ts";
import { attendLinearly, convolve, type HeadColumns } from "../../pieces/linear_attention.ts";
import { applyGate, applyGroup } from "../../pieces/linear.ts";
import { normalize } from "../../pieces/norm.ts";
import { vectorOnDevice } from "../../pieces/vector.ts";
import { type LinearGroup, linearSpec, type NormSpec, type VectorSpec } from "../../layer_specs.ts";
import type { DeltaTraits } from "../family.ts";
import type { LinearAttention } from "./attention_layers.ts";

export interface DeltaNetSizes extends DeltaTraits {
  readonly hidden: number;
  readonly activation: Activation;
  /** The epsilon of the norm of the outputs. */
  readonly eps: number;
}

/** The outputs of the layers before the convolution. */
interface Projected {
  /** An activation with `columns` columns, of which the convolution reads `parts`: all queries, then all keys, then all values. */
  readonly x: DeviceBuffer;
  readonly columns: number;
  readonly parts: readonly HeadColumns[];
  /** The gate of the outputs. It has one row per key head of each token, with the columns of all its value heads. */
  readonly z: ColumnsView;
  /** As in `LinearAttentionInput`. */
  readonly a: ColumnsView;
  readonly b: ColumnsView;
  readonly gateColumns: number;
}

interface Projections {
  readonly layers: LinearGroup;
  /** Returns views of the outputs of `layers`. */
  views(outputs: readonly DeviceBuffer[]): Projected;
}

/** Returns the layers of Qwen3.5: one for q, k and v, and one each for z, b and a. */
function separateProjections({ hidden, heads, keyHeads, keyDim, valueDim }: DeltaNetSizes): Projections {
  const values = heads * valueDim, columns = 2 * keyHeads * keyDim + values, sharedBy = heads / keyHeads;
  return {
    layers: [
      linearSpec("linear_attn.in_proj_qkv", hidden, columns),
      linearSpec("linear_attn.in_proj_z", hidden, values),
      linearSpec("linear_attn.in_proj_b", hidden, heads),
      linearSpec("linear_attn.in_proj_a", hidden, heads),
    ],
    views: ([x, z, b, a]) => ({
      x,
      columns,
      parts: [{ offset: 0, heads: 1, headDim: columns, headStride: columns }],
      z: allColumns(z, sharedBy * valueDim),
      a: allColumns(a, heads),
      b: allColumns(b, heads),
      gateColumns: heads,
    }),
  };
}

/** Returns the layers of Qwen3-Next: one for q, k, v and z, and one for b and a. Each has all outputs of a key head side by side. */
function fusedProjections({ hidden, heads, keyHeads, keyDim, valueDim }: DeltaNetSizes): Projections {
  const sharedBy = heads / keyHeads,
    valueColumns = sharedBy * valueDim,
    stride = 2 * keyDim + 2 * valueColumns;
  const columns = keyHeads * stride;
  const part = (offset: number, headDim: number) => ({
    offset,
    heads: keyHeads,
    headDim,
    headStride: stride,
  });
  return {
    layers: [
      linearSpec("linear_attn.in_proj_qkvz", hidden, columns),
      linearSpec("linear_attn.in_proj_ba", hidden, 2 * heads),
    ],
    views: ([x, ba]) => ({
      x,
      columns,
      parts: [part(0, keyDim), part(keyDim, keyDim), part(2 * keyDim, valueColumns)],
      z: { buffer: x, offset: 2 * keyDim + valueColumns, ld: stride },
      a: { buffer: ba, offset: sharedBy, ld: 2 * sharedBy },
      b: allColumns(ba, 2 * sharedBy),
      gateColumns: sharedBy,
    }),
  };
}

/** @param isFused whether the projections are fused as in Qwen3-Next */
export function gatedDeltaNet(sizes: DeltaNetSizes, isFused: boolean): LinearAttention {
  const { hidden, heads, keyHeads, keyDim, valueDim, taps, activation, eps } = sizes;
  const values = heads * valueDim, channels = 2 * keyHeads * keyDim + values, gateColumns = values / keyHeads;
  const { layers, views } = isFused ? fusedProjections(sizes) : separateProjections(sizes);
  const norm: NormSpec = { kind: "rms", name: "linear_attn.norm", size: valueDim, eps, affine: true };
  const aLog: VectorSpec = { name: "linear_attn.A_log", size: heads };
  const dtBias: VectorSpec = { name: "linear_attn.dt_bias", size: heads };
  const weight: VectorSpec = {
    name: "linear_attn.conv1d.weight",
    size: channels * taps,
    shape: [channels, 1, taps],
  };
  return {
    traits: { linear: sizes },
    inputs: [layers],
    out: [linearSpec("linear_attn.out_proj", values, hidden)],
    activations: [channels, values, values, values, 2 * heads],
    norms: [norm],
    vectors: [aLog, dtBias, weight],
    attend(pass, x) {
      const { x: projected, columns, parts, z, ...gates } = views(applyGroup(pass, layers, x));
      const convolution = { parts, weight: vectorOnDevice(pass, weight), channels, taps, activation };
      const qkv = convolve(pass, projected, columns, convolution);
      const headVectors = vectorOnDevice(pass, aLog, dtBias);
      const attended = attendLinearly(pass, { ...sizes, ...gates, headVectors, qkv });
      const y = normalize(pass, norm, attended, pass.rows * heads);
      const headPass: BlockPass = { ...pass, rows: pass.rows * keyHeads };
      return applyGate(headPass, z, allColumns(y, gateColumns), gateColumns, "silu");
    },
  };
}
