/** ERNIE 4.5 (Baidu 2025) rotates neighbouring dimensions. */

import { z } from "zod";
import { LLAMA_LAYERS } from "../architecture.ts";
import { epsilon, flag, positiveInt } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { GATED_NEURONS } from "../units.ts";

/** The settings of ERNIE 4.5 with and without experts. */
export const ernieShape = {
  ...llamaShape,
  rms_norm_eps: epsilon.default(1e-5),
  use_bias: flag.nullable(),
  tie_word_embeddings: z.boolean().default(true),
};

type Config = z.infer<z.ZodObject<typeof ernieShape>>;

export function withErnieTheta<C extends Config>(config: C): C {
  return { ...config, rope_theta: config.rope_theta ?? 500_000 };
}

export function ernieTraits({ use_bias }: Config): LlamaTraits {
  const bias = use_bias ?? false;
  return { biases: { qkv: bias, out: bias }, network: { bias }, isInterleaved: true };
}

export const ernie45 = llamaFamily(
  "ernie4_5",
  z.object({
    ...ernieShape,
    num_key_value_heads: positiveInt.nullable().default(2),
    head_dim: positiveInt.nullable().default(128),
  }).transform(withErnieTheta),
  ernieTraits,
  {
    gguf: { name: "ernie4_5", layers: LLAMA_LAYERS },
    units: { neurons: GATED_NEURONS, heads: {} },
  },
);
