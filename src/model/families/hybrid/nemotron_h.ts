/** Nemotron-H (NVIDIA 2025, arXiv 2504.03624), whose blocks consist of one half each. The defaults are those of transformers. */

import { z } from "zod";
import { linearSpec, type NormSpec } from "../../layer_specs.ts";
import { type Architecture, attentionNames, mambaNames } from "../architecture.ts";
import { activationName, blockTypes, epsilon, positiveInt, readConfig } from "../config/config.ts";
import type { BlockSpec } from "../family.ts";
import { separateQkv } from "../llama/attention_layers.ts";
import { feedForward } from "../llama/feed_forward.ts";
import { type BlockParts, llamaBlock } from "../llama/llama_block.ts";
import { checkSizes } from "../llama/llama_model.ts";
import { mamba2, type Mamba2Sizes } from "../llama/mamba2.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";
import { correctedRule } from "../mixtures/deepseek.ts";
import type { Family } from "../model_family.ts";

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
  /** The smallest step. transformers does not read `time_step_limit`. */
  time_step_min: z.number().nonnegative().default(0.001),
  n_routed_experts: positiveInt.default(8),
  num_experts_per_tok: positiveInt.default(2),
  moe_intermediate_size: positiveInt.default(7688),
  moe_shared_expert_intermediate_size: positiveInt.default(7688),
  /** The size of the inputs of experts, if it is not that of the hidden states. */
  moe_latent_size: z.null().optional(),
  norm_topk_prob: z.boolean().default(true),
  routed_scaling_factor: z.number().positive().default(1),
  n_group: positiveInt.default(1),
  topk_group: positiveInt.default(1),
});

type NemotronConfig = z.infer<typeof nemotronConfig>;

/** Returns the half that a block of type `type` consists of. */
function nemotronHalf(
  config: NemotronConfig,
  sizes: BlockParts["sizes"],
  type: NemotronType,
): Pick<BlockParts, "attention" | "feedForward"> {
  const { mlp_hidden_act: activation, mlp_bias: bias } = config, { hidden } = sizes;
  const layers = { up: "up_proj", down: "down_proj" };
  if (type === "linear_attention") {
    const mamba: Mamba2Sizes = {
      ...{ hidden, heads: config.mamba_num_heads, headDim: config.mamba_head_dim, groups: config.n_groups },
      ...{ stateDim: config.ssm_state_size, taps: config.conv_kernel, activation: config.mamba_hidden_act },
      ...{ eps: config.layer_norm_epsilon, bias: config.use_bias, convolutionBias: config.use_conv_bias },
      stepLimits: [config.time_step_min, Infinity],
    };
    return { attention: mamba2(mamba, "mixer") };
  }
  if (type === "full_attention") return { attention: separateQkv(sizes, {}, {}, "mixer") };
  if (type === "mlp") {
    return { feedForward: feedForward(sizes, activation, { name: "mixer", layers, bias }) };
  }
  const { experts } = mixtureTraits({
    ...correctedRule(config),
    name: "mixer",
    layers,
    experts: config.n_routed_experts,
    expertsPerToken: config.num_experts_per_tok,
    isNormalized: config.norm_topk_prob,
    scale: config.routed_scaling_factor,
    intermediate: config.moe_intermediate_size,
    shared: { name: "mixer.shared_experts", intermediate: config.moe_shared_expert_intermediate_size, bias },
  });
  return { feedForward: experts?.(sizes, activation) };
}

function nemotronSizes(config: NemotronConfig): BlockParts["sizes"] {
  const { hidden_size: hidden, intermediate_size: intermediate, head_dim: headDim } = config;
  const { num_attention_heads: heads, num_key_value_heads: kvHeads } = config;
  return checkSizes({ hidden, intermediate, heads, kvHeads, headDim });
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
export const nemotronH: Family = {
  modelType: "nemotron_h",
  experts: "all",
  gguf: {
    ...NEMOTRON,
    variant({ layers_block_type: types, hybrid_override_pattern: pattern }) {
      const hasExperts = Array.isArray(types) ? types.includes("moe") : String(pattern ?? "E").includes("E");
      return hasExperts ? NEMOTRON_WITH_EXPERTS : NEMOTRON;
    },
  },
  read(object, has) {
    const config = readConfig(nemotronConfig, object),
      { hidden_size: hidden, layer_norm_epsilon: eps } = config;
    const { hybrid_override_pattern: pattern, mlp_hidden_act: activation } = config,
      sizes = nemotronSizes(config);
    const types = config.layers_block_type ??
      [...pattern ?? "ME*-"].map((letter) => LETTERS[letter as keyof typeof LETTERS]);
    // Published checkpoints have the prefix of the older classes, which transformers writes too. Its own classes have the other one.
    const root = has("model.embeddings.weight") ? "model." : "backbone.";
    const norm = (name: string): NormSpec => ({ kind: "rms", name, size: hidden, eps, affine: true });
    const blockOf = (type: NemotronType) => {
      const half = nemotronHalf(config, sizes, type), norms = { before: norm("norm") };
      return llamaBlock({
        ...{ traits: {}, sizes, activation, ...half },
        attentionNorms: half.attention ? norms : {},
        feedForwardNorms: half.feedForward ? norms : {},
        rotary: () => undefined,
      }, `${root}layers.`);
    };
    const blocks = new Map<NemotronType, BlockSpec>([...new Set(types)].map((type) => [type, blockOf(type)]));
    return {
      hiddenSize: hidden,
      blockCount: types.length,
      vocabSize: config.vocab_size,
      maxTokens: config.max_position_embeddings,
      embedding: { tokens: `${root}embeddings.weight` },
      block: (index) => blocks.get(types[index])!,
      finalNorm: norm(`${root}norm_f`),
      head: linearSpec("lm_head", hidden, config.vocab_size),
    };
  },
};
