/**
 * The family GPT-NeoX (Black et al., arXiv 2204.06745), which includes Pythia. Attention and the feed-forward
 * network of a block read the same hidden states, and their outputs are added together. A part of each head
 * rotates. Names and arithmetic follow transformers' `GPTNeoXForCausalLM`.
 */

import { z } from "zod";
import { GPT_BIASES, NORMS_BEFORE } from "../architecture.ts";
import { activationName, epsilon, positiveInt } from "../config/config.ts";
import { rotaryShape } from "../config/rotary_config.ts";
import { fusedQkv } from "../llama/attention_layers.ts";
import { llamaFamily } from "../llama/llama_model.ts";

/** The share of the dimensions of a head that rotates, if the configuration does not say otherwise. */
const DEFAULT_ROTATED_SHARE = 0.25;

const schema = z.object({
  ...rotaryShape,
  hidden_size: positiveInt,
  num_hidden_layers: positiveInt,
  num_attention_heads: positiveInt,
  intermediate_size: positiveInt,
  vocab_size: positiveInt,
  hidden_act: activationName.default("gelu"),
  layer_norm_eps: epsilon.default(1e-5),
  attention_bias: z.boolean().default(true),
  /** Whether the feed-forward network reads the hidden states before attention. Otherwise it reads those after attention. */
  use_parallel_residual: z.boolean().default(true),
  tie_word_embeddings: z.boolean().default(false),
  /** The older names of `partial_rotary_factor` and `rope_theta`. */
  rotary_pct: z.number().positive().max(1).nullish(),
  rotary_emb_base: z.number().positive().nullish(),
}).transform((config) => ({
  ...config,
  rms_norm_eps: config.layer_norm_eps,
  rope_theta: config.rotary_emb_base,
  partial_rotary_factor: config.rotary_pct ?? DEFAULT_ROTATED_SHARE,
}));

export const gptNeoX = llamaFamily(
  "gpt_neox",
  schema,
  ({ attention_bias: bias, use_parallel_residual: isParallel }) => ({
    root: "gpt_neox.",
    names: { embed_tokens: "embed_in", norm: "final_layer_norm", lm_head: "embed_out" },
    norm: { kind: "layer" },
    normPlacement: isParallel ? "parallel" : "before",
    partialRotation: true,
    attention: (sizes) =>
      fusedQkv(sizes, ["attention.query_key_value", "attention.dense"], { bias, dividesHeads: true }),
    network: { layers: { up: "dense_h_to_4h", down: "dense_4h_to_h" }, bias: true },
  }),
  {
    gguf: {
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
    units: {
      neurons: {
        setting: "intermediate_size",
        reader: "mlp.dense_4h_to_h",
        writers: ["mlp.dense_h_to_4h"],
      },
    },
  },
);
