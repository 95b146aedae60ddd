/** Nemotron-H (NVIDIA 2025, arXiv 2504.03624), whose blocks consist of one half each. The defaults are those of transformers. */

import { z } from "zod";
import { type Architecture, attentionNames, mambaNames } from "../architecture.ts";
import { activationName, blockTypes, epsilon, positiveInt, stepLimits } from "../config/config.ts";
import { separateQkv } from "../llama/attention_layers.ts";
import { llamaFamily } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { mamba2 } from "../llama/mamba2.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";
import { correctedRule } from "../mixtures/deepseek.ts";

/** The types of blocks of Nemotron-H by their letters in `hybrid_override_pattern`. */
const LETTERS = { "M": "linear_attention", "*": "full_attention", "-": "mlp", "E": "moe" } as const;
type NemotronType = typeof LETTERS[keyof typeof LETTERS];

const nemotronConfig = z.object({
  hidden_size: positiveInt,
  vocab_size: positiveInt,
  max_position_embeddings: positiveInt,
  layers_block_type: blockTypes(Object.values(LETTERS)),
  /** The types of blocks in versions of transformers before 5. */
  hybrid_override_pattern: z.string().regex(/^[M*E-]+$/).nullish(),
  layer_norm_epsilon: epsilon.default(1e-5),
  num_attention_heads: positiveInt,
  num_key_value_heads: positiveInt.default(8),
  head_dim: positiveInt.default(128),
  intermediate_size: positiveInt,
  mlp_hidden_act: activationName.default("relu2"),
  mlp_bias: z.boolean().default(false),
  mamba_num_heads: positiveInt.default(128),
  mamba_head_dim: positiveInt.default(64),
  n_groups: positiveInt.default(8),
  ssm_state_size: positiveInt.default(128),
  conv_kernel: positiveInt.default(4),
  mamba_hidden_act: activationName.default("silu"),
  use_bias: z.boolean().default(false),
  use_conv_bias: z.boolean().default(true),
  time_step_limit: stepLimits,
  n_routed_experts: positiveInt.default(8),
  num_experts_per_tok: positiveInt.default(2),
  moe_intermediate_size: positiveInt.default(7688),
  moe_shared_expert_intermediate_size: positiveInt.default(7688),
  /** The size of the inputs of experts, if it differs from the size of the hidden states. */
  moe_latent_size: z.null().optional(),
  norm_topk_prob: z.boolean().default(true),
  routed_scaling_factor: z.number().positive().default(1),
  n_group: positiveInt.default(1),
  topk_group: positiveInt.default(1),
});

type NemotronConfig = z.infer<typeof nemotronConfig>;

const LAYERS = { up: "up_proj", down: "down_proj" };

function nemotronMixture(config: NemotronConfig): Pick<LlamaTraits, "experts"> {
  return mixtureTraits(config, {
    ...correctedRule(config),
    name: "mixer",
    layers: LAYERS,
    experts: config.n_routed_experts,
    scale: config.routed_scaling_factor,
    shared: {
      name: "mixer.shared_experts",
      intermediate: config.moe_shared_expert_intermediate_size,
      bias: config.mlp_bias,
    },
  });
}

const MAMBA = mambaNames("mixer");

const NEMOTRON_LAYERS = {
  ...MAMBA.layers,
  ...attentionNames("mixer"),
  "norm": "attn_norm",
};

const NEMOTRON: Architecture = {
  name: "nemotron_h",
  layers: { ...NEMOTRON_LAYERS, "mixer.up_proj": "ffn_up", "mixer.down_proj": "ffn_down" },
  vectors: { ...MAMBA.vectors, "mixer.gate.e_score_correction_bias": "exp_probs_b.bias" },
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

/** Nemotron-H has one half per block: Mamba 2, attention without positions, a network without a gate, or a mixture of such networks. */
export const nemotronH = llamaFamily(
  "nemotron_h",
  nemotronConfig.transform((config) => {
    const types: readonly NemotronType[] = config.layers_block_type ??
      Array.from(
        config.hybrid_override_pattern ?? "ME*-",
        (letter) => LETTERS[letter as keyof typeof LETTERS],
      );
    return {
      ...config,
      types,
      num_hidden_layers: types.length,
      hidden_act: config.mlp_hidden_act,
      rms_norm_eps: config.layer_norm_epsilon,
      tie_word_embeddings: false,
    };
  }),
  ({ types, ...config }, has) => ({
    // Published checkpoints have the prefix of the older classes, which transformers writes too. Its own classes have the other one.
    root: has("model.embeddings.weight") ? "model." : "backbone.",
    names: {
      ...{ embed_tokens: "embeddings", norm: "norm_f" },
      ...{ input_layernorm: "norm", post_attention_layernorm: "norm" },
    },
    halfOf: (index) => /attention$/.test(types[index]) ? "attention" : "network",
    isLinear: (index) => types[index] === "linear_attention",
    hasNoExperts: (index) => types[index] !== "moe",
    rotary: () => undefined,
    attention: (sizes) => separateQkv(sizes, {}, {}, "mixer"),
    linearAttention: ({ hidden }) =>
      mamba2({
        ...{ hidden, heads: config.mamba_num_heads, headDim: config.mamba_head_dim, groups: config.n_groups },
        ...{ stateDim: config.ssm_state_size, taps: config.conv_kernel, activation: config.mamba_hidden_act },
        ...{ eps: config.layer_norm_epsilon, bias: config.use_bias, convolutionBias: config.use_conv_bias },
        stepLimits: config.time_step_limit,
      }, "mixer"),
    network: { name: "mixer", layers: LAYERS, bias: config.mlp_bias },
    ...types.includes("moe") ? nemotronMixture(config) : {},
  }),
  {
    experts: "all",
    gguf: {
      ...NEMOTRON,
      variant({ layers_block_type: types, hybrid_override_pattern: pattern }) {
        const hasExperts = Array.isArray(types)
          ? types.includes("moe")
          : String(pattern ?? "E").includes("E");
        return hasExperts ? NEMOTRON_WITH_EXPERTS : NEMOTRON;
      },
    },
  },
);
