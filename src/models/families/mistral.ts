/**
 * The family Mistral (Jiang et al., arXiv 2310.06825): LLaMA's block with a sliding attention window, as in
 * transformers' `MistralForCausalLM`.
 */

import { z } from "zod";
import { positive, readConfig } from "./config/config.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `MistralConfig` in transformers. */
const schema = z.object({
  ...llamaShape,
  num_key_value_heads: positive.nullable().default(8),
  sliding_window: positive.nullable().default(4096),
});

export const mistral: Family = {
  modelType: "mistral",
  read(object, has) {
    const config = readConfig(schema, object);
    return llamaModel(config, has, { window: () => config.sliding_window ?? 0 });
  },
};
