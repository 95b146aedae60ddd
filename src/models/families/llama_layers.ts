/** The linear layers of a LLaMA-like block, either separate or fused as in Phi-3, and the positions of q, k, v, gate and up in their outputs. */

import type { DeviceBuffer } from "../../backend/backend.ts";
import type { BlockPass } from "../pieces/block_pass.ts";
import { type Columns, whole } from "../pieces/columns.ts";
import { project } from "../pieces/linear.ts";
import type { LinearGroup, LinearSpec } from "./layer_specs.ts";
import type { LlamaSizes, Traits } from "./llama_traits.ts";

/** The four groups of linear layers, and the two projections whose outputs have several parts. */
export interface LlamaLayers {
  readonly qkv: LinearGroup;
  readonly out: LinearGroup;
  readonly gateUp: LinearGroup;
  readonly down: LinearGroup;
  /** In each part the heads are side by side. */
  projectQkv(pass: BlockPass, x: DeviceBuffer): { q: Columns; k: Columns; v: Columns };
  projectGateUp(pass: BlockPass, x: DeviceBuffer): { gate: Columns; up: Columns };
}

/** Returns layers with one matrix each. */
export function separateLayers(sizes: LlamaSizes, biases: Traits["biases"] = {}): LlamaLayers {
  const { hidden, intermediate, heads, kvHeads, headDim } = sizes;
  const qWidth = heads * headDim, kvWidth = kvHeads * headDim;
  const linear = (name: string, inFeatures: number, outFeatures: number, bias = false): LinearSpec => {
    return { name, inFeatures, outFeatures, bias };
  };
  const qkv: LinearGroup = [
    linear("self_attn.q_proj", hidden, qWidth, biases.qkv),
    linear("self_attn.k_proj", hidden, kvWidth, biases.qkv),
    linear("self_attn.v_proj", hidden, kvWidth, biases.qkv),
  ];
  const gateUp: LinearGroup = [
    linear("mlp.gate_proj", hidden, intermediate, biases.feedForward),
    linear("mlp.up_proj", hidden, intermediate, biases.feedForward),
  ];
  return {
    qkv,
    out: [linear("self_attn.o_proj", qWidth, hidden, biases.out)],
    gateUp,
    down: [linear("mlp.down_proj", intermediate, hidden, biases.feedForward)],
    projectQkv(pass, x) {
      const [q, k, v] = project(pass, qkv, x);
      return { q: whole(q, qWidth), k: whole(k, kvWidth), v: whole(v, kvWidth) };
    },
    projectGateUp(pass, x) {
      const [gate, up] = project(pass, gateUp, x);
      return { gate: whole(gate, intermediate), up: whole(up, intermediate) };
    },
  };
}

/** Returns fused layers without biases. The rows of one matrix are those of q, then k, then v; the rows of another are those of gate, then up. */
export function fusedLayers({ hidden, intermediate, heads, kvHeads, headDim }: LlamaSizes): LlamaLayers {
  const qWidth = heads * headDim, kvWidth = kvHeads * headDim, ld = qWidth + 2 * kvWidth;
  const linear = (name: string, inFeatures: number, outFeatures: number): LinearGroup => {
    return [{ name, inFeatures, outFeatures, bias: false }];
  };
  const qkv = linear("self_attn.qkv_proj", hidden, ld);
  const gateUp = linear("mlp.gate_up_proj", hidden, 2 * intermediate);
  return {
    qkv,
    out: linear("self_attn.o_proj", qWidth, hidden),
    gateUp,
    down: linear("mlp.down_proj", intermediate, hidden),
    projectQkv(pass, x) {
      const [buffer] = project(pass, qkv, x);
      return {
        q: { buffer, offset: 0, ld },
        k: { buffer, offset: qWidth, ld },
        v: { buffer, offset: qWidth + kvWidth, ld },
      };
    },
    projectGateUp(pass, x) {
      const [buffer] = project(pass, gateUp, x);
      return {
        gate: { buffer, offset: 0, ld: 2 * intermediate },
        up: { buffer, offset: intermediate, ld: 2 * intermediate },
      };
    },
  };
}
