/** Granite, and the settings that all Granites share. */

import { z } from "zod";
import { graniteFactors, LLAMA } from "../architecture.ts";
import { flag } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { GATED_NEURONS } from "../units.ts";

/** The settings of all Granites. */
export const graniteShape = {
  ...llamaShape,
  attention_bias: flag,
  mlp_bias: flag,
  embedding_multiplier: z.number().default(1),
  attention_multiplier: z.number().default(1),
  residual_multiplier: z.number().default(1),
  logits_scaling: z.number().positive().default(1),
};

/** Returns the traits of all Granites. */
export function graniteTraits(
  { attention_bias: attention, mlp_bias: bias, ...config }: z.infer<z.ZodObject<typeof graniteShape>>,
): LlamaTraits {
  return {
    biases: { qkv: attention, out: attention },
    network: { bias },
    embedding: { scale: config.embedding_multiplier },
    scale: config.attention_multiplier,
    residualScale: config.residual_multiplier,
    logits: { scale: 1 / config.logits_scaling },
  };
}

/** Granite (IBM 2024) has factors for the embedding, the attention scores, the outputs of each half, and the logits. */
export const granite = llamaFamily("granite", z.object(graniteShape), graniteTraits, {
  gguf: { ...LLAMA, name: "granite", factors: graniteFactors },
  units: { neurons: GATED_NEURONS },
});
