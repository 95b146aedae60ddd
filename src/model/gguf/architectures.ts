/**
 * The families of models that llama.cpp runs: the name of each architecture, and the names of its tensors. They are defined by
 * `gguf-py/gguf/tensor_mapping.py` and `conversion/` in github.com/ggml-org/llama.cpp, and the computation by `src/models/`.
 */

import { configError } from "../families/config/config.ts";
import type { ModelSpec } from "../families/family.ts";
import { MULTIMODAL_TYPES } from "../families/multimodal.ts";
import {
  type Architecture,
  ATTENTION,
  GATED,
  gatedNames,
  graniteFactors,
  HEAD_NORMS,
  LLAMA_LAYERS,
  NORMS_BEFORE,
  QKV_BIASES,
  RENAMED_NORMS,
  rotatesThreeOfFour,
} from "./architecture.ts";
import { inputNumbers, unsupportedInputs } from "./block_kinds.ts";
import { type Factors, headScale } from "./factors.ts";
import { HYBRID_ARCHITECTURES } from "./hybrid_architectures.ts";
import { MIXTURE_ARCHITECTURES } from "./mixture_architectures.ts";

const FUSED_GATE = { "mlp.gate_up_proj": "ffn_up", "mlp.down_proj": "ffn_down" };
const GPT_BIASES = ["attn_qkv", "attn_output", "ffn_up", "ffn_down"];

/** The layers of a block of BLOOM. */
const BLOOM_LAYERS = {
  "self_attention.query_key_value": "attn_qkv",
  "self_attention.dense": "attn_output",
  "mlp.dense_h_to_4h": "ffn_up",
  "mlp.dense_4h_to_h": "ffn_down",
};

/** The layers and norms of a block of Gemma 2. */
const GEMMA_LAYERS = {
  ...ATTENTION,
  ...GATED,
  "input_layernorm": "attn_norm",
  "post_attention_layernorm": "post_attention_norm",
  "pre_feedforward_layernorm": "ffn_norm",
  "post_feedforward_layernorm": "post_ffw_norm",
};

const LLAMA: Architecture = {
  name: "llama",
  layers: LLAMA_LAYERS,
  biases: [...QKV_BIASES, "attn_output", "ffn_gate", "ffn_up", "ffn_down"],
  rowOrder: "rotary",
  hasRotaryDivisors: true,
};

const OLMO2: Architecture = {
  name: "olmo2",
  layers: {
    ...ATTENTION,
    ...GATED,
    ...HEAD_NORMS,
    "post_attention_layernorm": "post_attention_norm",
    "post_feedforward_layernorm": "post_ffw_norm",
  },
};

/**
 * Returns the factors of Gemma. llama.cpp recognises the model with 27 billion parameters, which has another scale, by
 * its number of blocks, `largest`.
 */
function gemmaFactors({ hiddenSize, blockCount, block }: ModelSpec, largest: number): Partial<Factors> {
  const { heads, headDim } = block(0).traits!;
  return {
    attentionScale: headScale(blockCount === largest ? hiddenSize / heads : headDim),
    embeddingScale: Math.sqrt(hiddenSize),
  };
}

/** The architectures by the `model_type` in config.json. */
const ARCHITECTURES: Readonly<Record<string, Architecture>> = {
  llama: LLAMA,
  mistral: LLAMA,
  ministral3: { ...LLAMA, name: "mistral3", scalesQueries: true },
  qwen2: { name: "qwen2", layers: LLAMA_LAYERS, biases: QKV_BIASES },
  qwen3: { name: "qwen3", layers: { ...LLAMA_LAYERS, ...HEAD_NORMS } },
  phi3: {
    name: "phi3",
    layers: {
      "self_attn.qkv_proj": "attn_qkv",
      "self_attn.o_proj": "attn_output",
      ...FUSED_GATE,
      ...NORMS_BEFORE,
    },
    hasPartialRotation: true,
  },
  phi: {
    name: "phi2",
    layers: {
      ...ATTENTION,
      "self_attn.dense": "attn_output",
      "mlp.fc1": "ffn_up",
      "mlp.fc2": "ffn_down",
      "input_layernorm": "attn_norm",
    },
    biases: [...QKV_BIASES, "attn_output", "ffn_up", "ffn_down"],
    activation: "gelu_tanh",
    hasPartialRotation: true,
  },
  gemma: {
    name: "gemma",
    layers: LLAMA_LAYERS,
    activation: "gelu_tanh",
    sharesHead: true,
    factors: (_, { hiddenSize }) => ({ embeddingScale: Math.sqrt(hiddenSize) }),
  },
  gemma2: {
    name: "gemma2",
    layers: GEMMA_LAYERS,
    activation: "gelu_tanh",
    windowPeriod: 2,
    sharesHead: true,
    factors: (wanted, spec) => ({
      ...gemmaFactors(spec, 46),
      attentionSoftCap: wanted.attentionSoftCap ?? 50,
      logitSoftCap: wanted.logitSoftCap ?? 30,
    }),
  },
  gemma3_text: {
    name: "gemma3",
    layers: { ...GEMMA_LAYERS, ...HEAD_NORMS },
    activation: "gelu_tanh",
    windowPeriod: 6,
    windowTheta: 10_000,
    sharesHead: true,
    factors: (_, spec) => gemmaFactors(spec, 62),
  },
  gemma4_text: {
    name: "gemma4",
    layers: {
      ...GEMMA_LAYERS,
      ...HEAD_NORMS,
      ...gatedNames("experts", "_exps"),
      "router": "ffn_gate_inp",
      "router.proj": "ffn_gate_inp",
      "pre_feedforward_layernorm_2": "pre_ffw_norm_2",
      "post_feedforward_layernorm_1": "post_ffw_norm_1",
      "post_feedforward_layernorm_2": "post_ffw_norm_2",
      ...{ "per_layer_input_gate": "inp_gate", "per_layer_projection": "proj" },
      "post_per_layer_input_norm": "post_norm",
    },
    vectors: {
      "layer_scalar": "layer_output_scale.weight",
      "router.per_expert_scale": "ffn_down_exps.scale",
    },
    activation: "gelu_tanh",
    listsWindows: true,
    windowTheta: "described",
    hasRotaryDivisors: "always",
    numbers: inputNumbers,
    unsupported: unsupportedInputs,
    factors: ({ logitSoftCap }, { hiddenSize }) => ({
      attentionScale: 1,
      embeddingScale: Math.sqrt(hiddenSize),
      logitSoftCap: logitSoftCap ?? 30,
    }),
    variant: ({ enable_moe_block: hasExperts }) => hasExperts ? { mixture: { isNormalized: true } } : {},
  },
  olmo2: OLMO2,
  olmo3: { ...OLMO2, windowPeriod: 4, windowTheta: "common" },
  exaone4: {
    ...OLMO2,
    name: "exaone4",
    hasRotaryDivisors: true,
    // llama.cpp recognises the model with 32 billion parameters by its number of blocks.
    variant: ({ num_hidden_layers }) =>
      num_hidden_layers === 64 ? { windowPeriod: 4, rotates: rotatesThreeOfFour } : {},
  },
  seed_oss: { name: "seed_oss", layers: { ...ATTENTION, ...GATED, ...RENAMED_NORMS }, biases: QKV_BIASES },
  ernie4_5: { name: "ernie4_5", layers: LLAMA_LAYERS },
  glm4: {
    name: "glm4",
    layers: {
      ...ATTENTION,
      ...FUSED_GATE,
      "input_layernorm": "attn_norm",
      "post_self_attn_layernorm": "post_attention_norm",
      "post_attention_layernorm": "ffn_norm",
      "post_mlp_layernorm": "post_ffw_norm",
    },
    biases: QKV_BIASES,
    hasPartialRotation: true,
  },
  cohere2: {
    name: "cohere2",
    layers: { ...ATTENTION, ...GATED, "input_layernorm": "attn_norm" },
    windowPeriod: 4,
    sharesHead: true,
    multipliesLogits: true,
    rotates: rotatesThreeOfFour,
    factors: ({ logitScale }) => ({ logitScale }),
  },
  granite: { ...LLAMA, name: "granite", factors: graniteFactors },
  smollm3: { ...LLAMA, name: "smollm3", rotates: rotatesThreeOfFour },
  starcoder2: {
    name: "starcoder2",
    layers: { ...ATTENTION, ...NORMS_BEFORE, "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down" },
    biases: [...QKV_BIASES, "attn_output", "ffn_up", "ffn_down"],
    activation: "gelu_tanh",
  },
  gpt2: {
    name: "gpt2",
    layers: {
      "attn.c_attn": "attn_qkv",
      "attn.c_proj": "attn_output",
      "mlp.c_fc": "ffn_up",
      "mlp.c_proj": "ffn_down",
      "ln_1": "attn_norm",
      "ln_2": "ffn_norm",
    },
    biases: GPT_BIASES,
    activation: "gelu_tanh",
    settings: { scale_attn_weights: true, scale_attn_by_inverse_layer_idx: false },
  },
  bloom: {
    name: "bloom",
    layers: { ...BLOOM_LAYERS, ...NORMS_BEFORE },
    biases: GPT_BIASES,
    activation: "gelu_tanh",
    rowOrder: "heads",
    settings: { apply_residual_connection_post_layernorm: false },
  },
  gpt_neox: {
    name: "gptneox",
    layers: {
      "attention.query_key_value": "attn_qkv",
      "attention.dense": "attn_output",
      "mlp.dense_h_to_4h": "ffn_up",
      "mlp.dense_4h_to_h": "ffn_down",
      ...NORMS_BEFORE,
    },
    biases: GPT_BIASES,
    activation: "gelu_tanh",
    rowOrder: "heads",
    hasPartialRotation: true,
    settings: { attention_bias: true, tie_word_embeddings: false },
    switches: ["use_parallel_residual"],
  },
  falcon: {
    name: "falcon",
    layers: {
      ...BLOOM_LAYERS,
      "input_layernorm": "attn_norm",
      "ln_attn": "attn_norm_2",
      "ln_mlp": "attn_norm",
    },
    activation: "gelu_tanh",
    rowOrder: "heads",
    settings: { parallel_attn: true },
  },
  ...MIXTURE_ARCHITECTURES,
  ...HYBRID_ARCHITECTURES,
};

/** @throws {ModelError} if llama.cpp has no architecture for the `model_type`, or does not support a setting's value */
export function findArchitecture(config: Readonly<Record<string, unknown>>): Architecture {
  const type = String(config.model_type);
  if (!Object.hasOwn(ARCHITECTURES, type)) {
    const types = Object.keys(ARCHITECTURES).join(", "), isMultimodal = MULTIMODAL_TYPES.includes(type);
    throw configError(
      `model_type ${JSON.stringify(type)} cannot be exported to GGUF; the types that can are: ${types}` +
        (isMultimodal ? "; of a multimodal model, only a text part that is saved alone can" : ""),
    );
  }
  const architecture = { ...ARCHITECTURES[type], ...ARCHITECTURES[type].variant?.(config) };
  for (const [name, needed] of Object.entries(architecture.settings ?? {})) {
    const value = config[name] ?? needed;
    if (value !== needed) {
      throw configError(`${name} must be ${needed} for GGUF, not ${JSON.stringify(value)}`);
    }
  }
  return architecture;
}
