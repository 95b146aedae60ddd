/** GLM-4 (arXiv 2406.12793), as of 2025, has norms before and after each half, and rotates neighbouring dimensions of a part of each head. */

import { z } from "zod";
import { ATTENTION, FUSED_GATE, QKV_BIASES } from "../architecture.ts";
import { epsilon, positiveInt } from "../config/config.ts";
import { FUSED_LAYERS } from "../llama/feed_forward.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { FUSED_NEURONS } from "../units.ts";

export const glm4 = llamaFamily(
  "glm4",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(2),
    head_dim: positiveInt.nullable().default(128),
    rms_norm_eps: epsilon.default(1.5625e-7),
    attention_bias: z.boolean().default(true),
  }).transform((config) => ({ ...config, partial_rotary_factor: config.partial_rotary_factor ?? 0.5 })),
  ({ attention_bias: bias }) => ({
    biases: { qkv: bias },
    network: { layers: FUSED_LAYERS },
    normPlacement: "around",
    names: {
      post_attention_layernorm: "post_self_attn_layernorm",
      pre_feedforward_layernorm: "post_attention_layernorm",
      post_feedforward_layernorm: "post_mlp_layernorm",
    },
    partialRotation: true,
    isInterleaved: true,
  }),
  {
    gguf: {
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
    units: { neurons: FUSED_NEURONS },
  },
);
