/** Mixtral (Jiang et al., arXiv 2401.04088) has Mistral's block. */

import { z } from "zod";
import { ATTENTION, EXPERTS, NORMS_BEFORE } from "../architecture.ts";
import { epsilon, positiveInt } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";
import { NEURONS_OF_EXPERTS } from "../units.ts";

/** The names in the published checkpoints of Mixtral. */
const ORIGINAL_MIXTRAL_NAMES = {
  name: "block_sparse_moe",
  layers: { gate: "w1", up: "w3", down: "w2" },
};

export const mixtral = llamaFamily(
  "mixtral",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    rms_norm_eps: epsilon.default(1e-5),
    sliding_window: positiveInt.nullish(),
    num_local_experts: positiveInt.default(8),
    num_experts_per_tok: positiveInt.default(2),
  }).transform((config) => ({ ...config, rope_theta: config.rope_theta ?? 1_000_000 })),
  (config, has) => ({
    window: () => config.sliding_window ?? 0,
    ...mixtureTraits(config, {
      experts: config.num_local_experts,
      // transformers writes these names unless one tensor has the weights of all experts.
      ...["model.", ""].some((root) => has(`${root}layers.0.mlp.gate.weight`)) ? {} : ORIGINAL_MIXTRAL_NAMES,
    }),
  }),
  {
    experts: "all",
    gguf: {
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
    units: { neurons: NEURONS_OF_EXPERTS, heads: {}, experts: ["num_local_experts"] },
  },
);
