/** Mistral and Ministral 3. The multimodal Mistral 3 has either of them as its text part. */

import { z } from "zod";
import { LLAMA } from "../architecture.ts";
import { epsilon, positiveInt } from "../config/config.ts";
import { ropeObject } from "../config/rotary_config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { GATED_NEURONS } from "../units.ts";

/** The default of Mistral 3 that differs from the default of its text part. */
const MISTRAL3_DEFAULTS = { tie_word_embeddings: true };

/** Mistral (Jiang et al., arXiv 2310.06825) has a sliding attention window. */
export const mistral = llamaFamily(
  "mistral",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    sliding_window: positiveInt.nullable().default(4096),
  }),
  (config) => ({ window: () => config.sliding_window ?? 0 }),
  {
    gguf: LLAMA,
    units: { neurons: GATED_NEURONS, heads: {} },
    textParts: { mistral3: { defaults: MISTRAL3_DEFAULTS } },
  },
);

/** The settings of the rotary embeddings of Ministral 3 if a configuration has none. */
const MINISTRAL_ROPE = {
  rope_type: "yarn",
  rope_theta: 1_000_000,
  factor: 16,
  original_max_position_embeddings: 16_384,
  mscale: 1,
  mscale_all_dim: 1,
  llama_4_scaling_beta: 0.1,
};

/** Ministral 3 (Mistral AI 2025) has heads of a fixed size, YaRN, and queries that are larger at positions past the trained length. */
export const ministral3 = llamaFamily(
  "ministral3",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    head_dim: positiveInt.nullable().default(128),
    rms_norm_eps: epsilon.default(1e-5),
    sliding_window: positiveInt.nullish(),
    rope_parameters: ropeObject.extend({ llama_4_scaling_beta: z.number().nonnegative().default(0) })
      .nullish()
      .transform((rope) => rope ?? MINISTRAL_ROPE),
  }),
  ({ sliding_window: window, rope_parameters: rope, max_position_embeddings }) => {
    const { llama_4_scaling_beta: beta } = rope;
    const trainedTokens = rope.original_max_position_embeddings ?? max_position_embeddings;
    return {
      window: () => window ?? 0,
      queryScale: () =>
        beta === 0 ? undefined : (position) => 1 + beta * Math.log(1 + Math.floor(position / trainedTokens)),
    };
  },
  {
    gguf: { ...LLAMA, name: "mistral3", scalesQueries: true },
    units: { neurons: GATED_NEURONS, heads: {} },
    textParts: { mistral3: { types: ["ministral3"], defaults: MISTRAL3_DEFAULTS } },
  },
);
