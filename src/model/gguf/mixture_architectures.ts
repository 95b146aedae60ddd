/**
 * The architectures of llama.cpp for families with mixtures of experts or the gated delta rule. `architectures.ts` and
 * `hybrid_architectures.ts` have the others.
 */

import { firstTrait, type ModelSpec } from "../families/family.ts";
import {
  type Architecture,
  ATTENTION,
  GATE_AND_UP,
  GATED,
  gatedNames,
  HEAD_NORMS,
  NORMS_BEFORE,
  QKV_BIASES,
  RENAMED_NORMS,
  rotatesThreeOfFour,
} from "./architecture.ts";

const EXPERTS = { "mlp.gate": "ffn_gate_inp", ...gatedNames("mlp.experts", "_exps") };

/** The experts of Qwen with a shared expert, which has a gate. */
const QWEN_EXPERTS = {
  ...EXPERTS,
  ...gatedNames("mlp.shared_expert", "_shexp"),
  "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
};

/** The networks of DeepSeek and GLM-4.5. */
const DEEPSEEK_NETWORKS = { ...GATED, ...EXPERTS, ...gatedNames("mlp.shared_experts", "_shexp") };
const DEEPSEEK_VECTORS = { "mlp.gate.e_score_correction_bias": "exp_probs_b.bias" };
const DEEPSEEK_MIXTURE = { isNormalized: "described", sharedSize: "multiple", denseBlocks: "first" } as const;

const DEEPSEEK: Architecture = {
  name: "deepseek2",
  layers: {
    ...NORMS_BEFORE,
    ...DEEPSEEK_NETWORKS,
    "self_attn.q_proj": "attn_q",
    "self_attn.q_a_proj": "attn_q_a",
    "self_attn.q_a_layernorm": "attn_q_a_norm",
    "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa",
    "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "self_attn.kv_b_proj": "attn_kv_b",
    "self_attn.o_proj": "attn_output",
  },
  vectors: DEEPSEEK_VECTORS,
  hasPartialRotation: true,
  mixture: DEEPSEEK_MIXTURE,
  // The settings of YaRN have the factor of scores.
  factors: ({ attentionScale }, spec) => spec.block(0).traits?.latent?.rotary.yarn ? { attentionScale } : {},
  unsupported: (spec) =>
    spec.block(0).traits?.latent?.rotary.isInterleaved ? undefined : "rope_interleave false",
};

/** The parts that Qwen3-Next and Qwen3.5 share. */
const LINEAR = {
  layers: {
    ...ATTENTION,
    ...RENAMED_NORMS,
    ...HEAD_NORMS,
    "linear_attn.norm": "ssm_norm",
    "linear_attn.out_proj": "ssm_out",
  },
  vectors: {
    "linear_attn.A_log": "ssm_a",
    "linear_attn.dt_bias": "ssm_dt.bias",
    "linear_attn.conv1d.weight": "ssm_conv1d.weight",
  },
  hasPartialRotation: true,
  hasLinearBlocks: true,
  // llama.cpp also takes the epsilon of the norms for the lengths of queries and keys in linear attention, which is 1e-6 in the model.
  settings: { rms_norm_eps: 1e-6 },
} as const;

const QWEN35: Architecture = {
  ...LINEAR,
  name: "qwen35",
  layers: {
    ...LINEAR.layers,
    ...GATED,
    "linear_attn.in_proj_qkv": "attn_qkv",
    "linear_attn.in_proj_z": "attn_gate",
    "linear_attn.in_proj_b": "ssm_beta",
    "linear_attn.in_proj_a": "ssm_alpha",
  },
  rowOrder: "tiled",
  hasRotarySections: true,
};

/** The architectures by the `model_type` in config.json. */
export const MIXTURE_ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  mixtral: {
    name: "llama",
    layers: {
      ...ATTENTION,
      ...NORMS_BEFORE,
      ...EXPERTS,
      "block_sparse_moe.gate": "ffn_gate_inp",
      "block_sparse_moe.experts.w1": "ffn_gate_exps",
      "block_sparse_moe.experts.w3": "ffn_up_exps",
      "block_sparse_moe.experts.w2": "ffn_down_exps",
    },
    rowOrder: "rotary",
    hasRotaryDivisors: true,
    mixture: { isNormalized: true },
  },
  qwen2_moe: {
    name: "qwen2moe",
    layers: { ...ATTENTION, ...NORMS_BEFORE, ...QWEN_EXPERTS },
    biases: QKV_BIASES,
    mixture: { isNormalized: false, sharedSize: "length" },
    settings: { tie_word_embeddings: false },
  },
  qwen3_moe: {
    name: "qwen3moe",
    layers: { ...ATTENTION, ...NORMS_BEFORE, ...HEAD_NORMS, ...EXPERTS },
    mixture: { isNormalized: true },
  },
  qwen3_next: {
    ...LINEAR,
    name: "qwen3next",
    layers: {
      ...LINEAR.layers,
      ...QWEN_EXPERTS,
      "linear_attn.in_proj_qkvz": "ssm_in",
      "linear_attn.in_proj_ba": "ssm_ba",
    },
    mixture: { isNormalized: true, sharedSize: "length" },
  },
  qwen3_5_text: QWEN35,
  qwen3_5_moe_text: {
    ...QWEN35,
    name: "qwen35moe",
    layers: { ...QWEN35.layers, ...QWEN_EXPERTS },
    mixture: { isNormalized: true, sharedSize: "length" },
  },
  olmoe: {
    name: "olmoe",
    layers: { ...ATTENTION, ...NORMS_BEFORE, ...HEAD_NORMS, ...EXPERTS },
    mixture: { isNormalized: false },
    needsSquareAttention: true,
    settings: { tie_word_embeddings: false },
  },
  deepseek_v2: DEEPSEEK,
  deepseek_v3: DEEPSEEK,
  kimi_k2: DEEPSEEK,
  glm4_moe: {
    name: "glm4moe",
    layers: { ...ATTENTION, ...RENAMED_NORMS, ...HEAD_NORMS, ...DEEPSEEK_NETWORKS },
    vectors: DEEPSEEK_VECTORS,
    biases: QKV_BIASES,
    hasPartialRotation: true,
    mixture: DEEPSEEK_MIXTURE,
  },
  gpt_oss: {
    name: "gpt-oss",
    layers: { ...ATTENTION, ...RENAMED_NORMS, ...EXPERTS, "mlp.router": "ffn_gate_inp" },
    vectors: { "self_attn.sinks": "attn_sinks.weight" },
    biases: [
      ...[...QKV_BIASES, "attn_output"],
      ...["ffn_gate_inp", "ffn_gate_exps", "ffn_up_exps", "ffn_down_exps"],
    ],
    windowPeriod: 2,
    allowsUnroundedYarn: true,
    splitLayers: { "mlp.experts.gate_up_proj": { places: GATE_AND_UP, rows: "alternate" } },
    mixture: { isNormalized: true },
    settings: {
      attention_bias: true,
      swiglu_alpha: 1.702,
      swiglu_limit: 7,
      tie_word_embeddings: false,
    },
  },
  llama4_text: {
    name: "llama4",
    layers: {
      ...ATTENTION,
      ...NORMS_BEFORE,
      ...gatedNames("feed_forward", ""),
      ...gatedNames("feed_forward.experts", "_exps"),
      ...gatedNames("feed_forward.shared_expert", "_shexp"),
      "feed_forward.router": "ffn_gate_inp",
    },
    hasRotaryDivisors: true,
    windowPeriod: 4,
    rotates: rotatesThreeOfFour,
    splitLayers: { "feed_forward.experts.gate_up_proj": { places: GATE_AND_UP, rows: "halves" } },
    mixture: { isNormalized: false, denseBlocks: "periodic" },
    settings: {
      attention_chunk_size: 8192,
      attn_temperature_tuning: true,
      floor_scale: 8192,
      attn_scale: 0.1,
    },
    unsupported: unsupportedNorms,
  },
};

/** llama.cpp recognises the LLaMA 4 without norms of queries and keys by its number of experts. */
function unsupportedNorms(spec: ModelSpec): string | undefined {
  const hasNorms = spec.block(0).norms.some(({ name }) => name === "self_attn.q_norm");
  const experts = firstTrait(spec, "mixture")?.experts;
  return hasNorms === (experts !== 128) ? undefined : `use_qk_norm ${hasNorms} with ${experts} experts`;
}
