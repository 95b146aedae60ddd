/** StarCoder2 (Lozhkov et al., arXiv 2402.19173) has LayerNorms, biases, a sliding window, and a feed-forward network without a gate. */

import { z } from "zod";
import { ATTENTION, NORMS_BEFORE, QKV_BIASES } from "../architecture.ts";
import { activationName, epsilon, positiveInt } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";

export const starcoder2 = llamaFamily(
  "starcoder2",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(2),
    hidden_act: activationName.default("gelu_tanh"),
    norm_epsilon: epsilon.default(1e-5),
    sliding_window: positiveInt.nullish(),
    use_bias: z.boolean().default(true),
    tie_word_embeddings: z.boolean().default(true),
  }).transform((config) => ({ ...config, rms_norm_eps: config.norm_epsilon })),
  ({ use_bias: bias, sliding_window: window }) => ({
    biases: { qkv: bias, out: bias },
    norm: { kind: "layer" },
    window: () => window ?? 0,
    network: { layers: { up: "c_fc", down: "c_proj" }, bias },
  }),
  {
    gguf: {
      name: "starcoder2",
      layers: { ...ATTENTION, ...NORMS_BEFORE, "mlp.c_fc": "ffn_up", "mlp.c_proj": "ffn_down" },
      biases: [...QKV_BIASES, "attn_output", "ffn_up", "ffn_down"],
      activation: "gelu_tanh",
    },
    units: { neurons: { setting: "intermediate_size", reader: "mlp.c_proj", writers: ["mlp.c_fc"] } },
  },
);
