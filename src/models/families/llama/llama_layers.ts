/**
 * The linear layers of a LLaMA-like block. Most families have one layer each for q, k, v, gate and up. Phi-3 has fused layers:
 * one computes q, k and v, and one computes gate and up. Both forms have the same interface.
 */

import type { DeviceBuffer } from "../../../backend/backend.ts";
import type { BlockPass } from "../../pieces/block_pass.ts";
import { allColumns, applyGroup, type ColumnsView } from "../../pieces/linear.ts";
import { type LinearGroup, linearSpec } from "../../layer_specs.ts";
import type { LlamaSizes, LlamaTraits } from "./llama_traits.ts";

/**
 * The linear layers of a block, in groups that share one input, and functions for the two groups whose
 * outputs have several parts.
 */
export interface LlamaLayers {
  readonly qkv: LinearGroup;
  readonly out: LinearGroup;
  readonly gateUp: LinearGroup;
  readonly down: LinearGroup;
  /**
   * Applies `qkv` to `x`, (rows, hidden) f32. In each row of q, of k and of v, the heads are side by side.
   */
  projectQkv(pass: BlockPass, x: DeviceBuffer): { q: ColumnsView; k: ColumnsView; v: ColumnsView };
  /** Applies `gateUp` to `x`, (rows, hidden) f32. */
  projectGateUp(pass: BlockPass, x: DeviceBuffer): { gate: ColumnsView; up: ColumnsView };
}

/** Returns separate layers for q, k, v, gate and up. */
export function separateLayers(sizes: LlamaSizes, biases: LlamaTraits["biases"] = {}): LlamaLayers {
  const { hidden, intermediate, heads, kvHeads, headDim } = sizes;
  const qColumns = heads * headDim, kvColumns = kvHeads * headDim;
  const qkv: LinearGroup = [
    linearSpec("self_attn.q_proj", hidden, qColumns, biases.qkv),
    linearSpec("self_attn.k_proj", hidden, kvColumns, biases.qkv),
    linearSpec("self_attn.v_proj", hidden, kvColumns, biases.qkv),
  ];
  const gateUp: LinearGroup = [
    linearSpec("mlp.gate_proj", hidden, intermediate, biases.feedForward),
    linearSpec("mlp.up_proj", hidden, intermediate, biases.feedForward),
  ];
  return {
    qkv,
    out: [linearSpec("self_attn.o_proj", qColumns, hidden, biases.out)],
    gateUp,
    down: [linearSpec("mlp.down_proj", intermediate, hidden, biases.feedForward)],
    projectQkv(pass, x) {
      const [q, k, v] = applyGroup(pass, qkv, x);
      return { q: allColumns(q, qColumns), k: allColumns(k, kvColumns), v: allColumns(v, kvColumns) };
    },
    projectGateUp(pass, x) {
      const [gate, up] = applyGroup(pass, gateUp, x);
      return { gate: allColumns(gate, intermediate), up: allColumns(up, intermediate) };
    },
  };
}

/**
 * Returns fused layers without biases. The outputs of `qkv` are q, then k, then v. The outputs of `gateUp` are gate, then up.
 */
export function fusedLayers({ hidden, intermediate, heads, kvHeads, headDim }: LlamaSizes): LlamaLayers {
  const qColumns = heads * headDim, kvColumns = kvHeads * headDim, ld = qColumns + 2 * kvColumns;
  const qkv: LinearGroup = [linearSpec("self_attn.qkv_proj", hidden, ld)];
  const gateUp: LinearGroup = [linearSpec("mlp.gate_up_proj", hidden, 2 * intermediate)];
  return {
    qkv,
    out: [linearSpec("self_attn.o_proj", qColumns, hidden)],
    gateUp,
    down: [linearSpec("mlp.down_proj", intermediate, hidden)],
    projectQkv(pass, x) {
      const [buffer] = applyGroup(pass, qkv, x);
      return {
        q: { buffer, offset: 0, ld },
        k: { buffer, offset: qColumns, ld },
        v: { buffer, offset: qColumns + kvColumns, ld },
      };
    },
    projectGateUp(pass, x) {
      const [buffer] = applyGroup(pass, gateUp, x);
      return {
        gate: { buffer, offset: 0, ld: 2 * intermediate },
        up: { buffer, offset: intermediate, ld: 2 * intermediate },
      };
    },
  };
}
