/** Granite 4 (IBM 2025), whose blocks have linear attention (Mamba 2) or attention. The defaults are the defaults of transformers. */

import { z } from "zod";
import {
  type Architecture,
  ATTENTION,
  GATE_AND_UP,
  graniteFactors,
  mambaNames,
  NORMS_BEFORE,
  QKV_BIASES,
} from "../architecture.ts";
import { blockTypes, configError, positiveInt, readLayerTypes, stepLimits } from "../config/config.ts";
import { graniteShape, graniteTraits } from "../dense/granite.ts";
import { llamaFamily } from "../llama/llama_model.ts";
import { mamba2, type Mamba2Sizes } from "../llama/mamba2.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";

const graniteConfig = z.object({
  ...graniteShape,
  num_local_experts: z.int().nonnegative().default(8),
  num_experts_per_tok: z.int().nonnegative().default(2),
  shared_intermediate_size: positiveInt.default(1024),
  position_embedding_type: z.string().nullish(),
  layer_types: blockTypes(["linear_attention", "full_attention"]),
  mamba_n_heads: positiveInt.default(128),
  mamba_n_groups: positiveInt.default(1),
  mamba_d_state: positiveInt.default(256),
  mamba_d_head: z.union([positiveInt, z.literal("auto")]).default("auto"),
  mamba_d_conv: positiveInt.default(4),
  mamba_expand: positiveInt.default(2),
  mamba_conv_bias: z.boolean().default(true),
  mamba_proj_bias: z.boolean().default(false),
  time_step_limit: stepLimits,
});

/** @throws {ModelError} if the total size of the heads is not the size of the hidden states times `mamba_expand` */
function graniteMamba(config: z.infer<typeof graniteConfig>): Mamba2Sizes {
  const { hidden_size: hidden, mamba_n_heads: heads, mamba_expand: expand, mamba_d_head } = config;
  const headDim = mamba_d_head === "auto" ? Math.floor(expand * hidden / heads) : mamba_d_head;
  if (heads * headDim !== expand * hidden) {
    throw configError(
      `mamba_n_heads ${heads} of ${headDim} dimensions is not supported, must have mamba_expand ${expand} · ` +
        `hidden_size ${hidden} dimensions together`,
    );
  }
  return {
    ...{ hidden, heads, headDim, groups: config.mamba_n_groups, stateDim: config.mamba_d_state },
    ...{ taps: config.mamba_d_conv, activation: config.hidden_act, eps: config.rms_norm_eps },
    ...{ bias: config.mamba_proj_bias, convolutionBias: config.mamba_conv_bias },
    stepLimits: config.time_step_limit,
  };
}

const MAMBA = mambaNames("mamba");

const GRANITE_LAYERS = { ...ATTENTION, ...NORMS_BEFORE, ...MAMBA.layers };

const GRANITE: Architecture = {
  name: "granitehybrid",
  layers: { ...GRANITE_LAYERS, "shared_mlp.output_linear": "ffn_down" },
  vectors: MAMBA.vectors,
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

/** Granite 4 has a gated network in every block. If it has experts too, this network is the shared expert. */
export const graniteHybrid = llamaFamily("granitemoehybrid", graniteConfig, (config) => {
  const { num_local_experts: experts, shared_intermediate_size: intermediate } = config;
  const sizes = graniteMamba(config), layers = { gate: "input_linear", down: "output_linear" };
  return {
    ...graniteTraits(config),
    hasRotary: () => config.position_embedding_type === "rope",
    isLinear: readLayerTypes(config, () => true, "linear_attention"),
    linearAttention: () => mamba2(sizes, "mamba"),
    ...experts > 0
      ? mixtureTraits(config, {
        name: "block_sparse_moe",
        router: "router.layer",
        layers,
        experts,
        shared: { name: "shared_mlp", intermediate },
      })
      : { network: { name: "shared_mlp", layers, intermediate } },
  };
}, {
  experts: "all",
  gguf: {
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
});
