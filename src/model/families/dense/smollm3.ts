/** SmolLM3 (Hugging Face 2025) does not rotate queries and keys in some blocks. */

import { z } from "zod";
import { LLAMA, rotatesThreeOfFour } from "../architecture.ts";
import {
  flag,
  layerTypesShape,
  noRopeShape,
  positiveInt,
  readRotatingBlocks,
  readWindow,
} from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { GATED_NEURONS } from "../units.ts";

export const smolLm3 = llamaFamily(
  "smollm3",
  z.object({
    ...llamaShape,
    ...layerTypesShape,
    ...noRopeShape,
    num_key_value_heads: positiveInt.nullable().default(4),
    attention_bias: flag,
    mlp_bias: flag,
    use_sliding_window: flag,
    sliding_window: positiveInt.nullish(),
    tie_word_embeddings: z.boolean().default(true),
  }).transform((config) => ({ ...config, rope_theta: config.rope_theta ?? 2_000_000 })),
  ({ attention_bias: attention, mlp_bias: bias, ...config }) => {
    const hasRotary = readRotatingBlocks(config);
    return {
      biases: { qkv: attention, out: attention },
      network: { bias },
      window: readWindow(config, (index) => !hasRotary(index)),
      hasRotary,
    };
  },
  {
    gguf: { ...LLAMA, name: "smollm3", rotates: rotatesThreeOfFour },
    units: { neurons: GATED_NEURONS, blockList: "no_rope_layers" },
  },
);
