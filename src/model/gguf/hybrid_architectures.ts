/** The architectures of llama.cpp for families with Mamba 2. `architectures.ts` and `mixture_architectures.ts` have the others. */

import {
  type Architecture,
  ATTENTION,
  attentionNames,
  GATE_AND_UP,
  graniteFactors,
  NORMS_BEFORE,
  QKV_BIASES,
} from "./architecture.ts";

/** Returns the names of the layers and vectors of Mamba 2. @param mixer its name in a block */
function mambaNames(mixer: string): Required<Pick<Architecture, "layers" | "vectors">> {
  return {
    layers: { [`${mixer}.in_proj`]: "ssm_in", [`${mixer}.out_proj`]: "ssm_out" },
    vectors: {
      [`${mixer}.A_log`]: "ssm_a",
      [`${mixer}.D`]: "ssm_d",
      [`${mixer}.dt_bias`]: "ssm_dt.bias",
      [`${mixer}.conv1d.weight`]: "ssm_conv1d.weight",
      [`${mixer}.conv1d.bias`]: "ssm_conv1d.bias",
      [`${mixer}.norm.weight`]: "ssm_norm.weight",
    },
  };
}

const MAMBA_IN_GRANITE = mambaNames("mamba"), MAMBA_IN_NEMOTRON = mambaNames("mixer");

const GRANITE_LAYERS = { ...ATTENTION, ...NORMS_BEFORE, ...MAMBA_IN_GRANITE.layers };

const GRANITE: Architecture = {
  name: "granitehybrid",
  layers: { ...GRANITE_LAYERS, "shared_mlp.output_linear": "ffn_down" },
  vectors: MAMBA_IN_GRANITE.vectors,
  splitLayers: { "shared_mlp.input_linear": { places: ["ffn_gate", "ffn_up"], rows: "halves" } },
  biases: [...QKV_BIASES, "attn_output"],
  rowOrder: "rotary",
  hasMamba: true,
  hasOptionalRotation: true,
  factors: graniteFactors,
  settings: { mamba_expand: 2, mamba_conv_bias: true },
};

const GRANITE_WITH_EXPERTS: Architecture = {
  ...GRANITE,
  layers: {
    ...GRANITE_LAYERS,
    "block_sparse_moe.router.layer": "ffn_gate_inp",
    "block_sparse_moe.experts.output_linear": "ffn_down_exps",
    "shared_mlp.output_linear": "ffn_down_shexp",
  },
  splitLayers: {
    "block_sparse_moe.experts.input_linear": { places: GATE_AND_UP, rows: "halves" },
    "shared_mlp.input_linear": { places: ["ffn_gate_shexp", "ffn_up_shexp"], rows: "halves" },
  },
  mixture: { isNormalized: true, sharedSize: "length" },
};

const NEMOTRON_LAYERS = {
  ...MAMBA_IN_NEMOTRON.layers,
  ...attentionNames("mixer"),
  "norm": "attn_norm",
};

const NEMOTRON: Architecture = {
  name: "nemotron_h",
  layers: { ...NEMOTRON_LAYERS, "mixer.up_proj": "ffn_up", "mixer.down_proj": "ffn_down" },
  vectors: { ...MAMBA_IN_NEMOTRON.vectors, "mixer.gate.e_score_correction_bias": "exp_probs_b.bias" },
  biases: ["ffn_up", "ffn_down"],
  activation: "relu2",
  hasBothEpsilons: true,
  settings: { use_conv_bias: true },
  hasMamba: true,
  hasOptionalRotation: true,
};

/** It has no place for blocks with a network without experts. */
const NEMOTRON_WITH_EXPERTS: Architecture = {
  ...NEMOTRON,
  name: "nemotron_h_moe",
  layers: {
    ...NEMOTRON_LAYERS,
    "mixer.gate": "ffn_gate_inp",
    "mixer.experts.up_proj": "ffn_up_exps",
    "mixer.experts.down_proj": "ffn_down_exps",
    "mixer.shared_experts.up_proj": "ffn_up_shexp",
    "mixer.shared_experts.down_proj": "ffn_down_shexp",
  },
  mixture: { isNormalized: "described", denseBlocks: "any", sharedSize: "length" },
};

/** The architectures by the `model_type` in config.json. */
export const HYBRID_ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  granitemoehybrid: {
    ...GRANITE,
    variant({ num_local_experts: experts, layer_types: types }) {
      const architecture = experts === 0 ? GRANITE : GRANITE_WITH_EXPERTS;
      const isHybrid = !Array.isArray(types) ||
        types.some((type) => type === "mamba" || type === "linear_attention");
      if (isHybrid) return architecture;
      // The smallest models have attention in all blocks.
      const name = experts === 0 ? "granite" : "granitemoe";
      return { ...architecture, name, hasMamba: false, settings: {} };
    },
  },
  nemotron_h: {
    ...NEMOTRON,
    variant({ layers_block_type: types, hybrid_override_pattern: pattern }) {
      const hasExperts = Array.isArray(types) ? types.includes("moe") : String(pattern ?? "E").includes("E");
      return hasExperts ? NEMOTRON_WITH_EXPERTS : NEMOTRON;
    },
  },
};
