/** Phi-3, which has LLaMA's block, and its predecessor Phi, whose halves run in parallel. */

import { z } from "zod";
import { ATTENTION, FUSED_GATE, NORMS_BEFORE, QKV_BIASES } from "../architecture.ts";
import { activationName, configError, epsilon, positiveInt } from "../config/config.ts";
import { fusedQkv } from "../llama/attention_layers.ts";
import { FUSED_LAYERS } from "../llama/feed_forward.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { FUSED_NEURONS } from "../units.ts";

/** Phi-3 (Abdin et al., arXiv 2404.14219) has one fused linear layer for q, k and v, and one for gate and up. */
export const phi3 = llamaFamily(
  "phi3",
  z.object({
    ...llamaShape,
    rms_norm_eps: epsilon.default(1e-5),
    original_max_position_embeddings: positiveInt.default(4096),
    sliding_window: positiveInt.nullish(),
  }),
  (config) => ({
    attention: fusedQkv,
    network: { layers: FUSED_LAYERS },
    partialRotation: true,
    window: () => config.sliding_window ?? 0,
  }),
  {
    gguf: {
      name: "phi3",
      layers: {
        "self_attn.qkv_proj": "attn_qkv",
        "self_attn.o_proj": "attn_output",
        ...FUSED_GATE,
        ...NORMS_BEFORE,
      },
      hasPartialRotation: true,
    },
    units: { neurons: FUSED_NEURONS },
  },
);

/** Phi (Li et al., arXiv 2309.05463), versions 1 to 2, has biases in all linear layers, and rotates a part of each head. */
export const phi = llamaFamily(
  "phi",
  z.object({
    ...llamaShape,
    layer_norm_eps: epsilon.default(1e-5),
    hidden_act: activationName.default("gelu_tanh"),
    qk_layernorm: z.boolean().default(false),
  }).transform((config) => ({
    ...config,
    rms_norm_eps: config.layer_norm_eps,
    partial_rotary_factor: config.partial_rotary_factor ?? 0.5,
  })),
  (config, has) => {
    if (config.tie_word_embeddings && !has("lm_head.weight")) {
      throw configError("tie_word_embeddings true is not supported for phi, whose head has a bias");
    }
    return {
      biases: { qkv: true, out: true },
      normPlacement: "shared",
      norm: { kind: "layer" },
      queryKeyNorm: config.qk_layernorm ? "heads" : undefined,
      partialRotation: true,
      headBias: true,
      names: {
        "self_attn.o_proj": "self_attn.dense",
        "self_attn.q_norm": "self_attn.q_layernorm",
        "self_attn.k_norm": "self_attn.k_layernorm",
        norm: "final_layernorm",
      },
      network: { layers: { up: "fc1", down: "fc2" }, bias: true },
    };
  },
  {
    gguf: {
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
    units: { neurons: { setting: "intermediate_size", reader: "mlp.fc2", writers: ["mlp.fc1"] } },
  },
);
