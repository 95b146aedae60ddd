/** The family LLaMA (Touvron et al., arXiv 2302.13971), versions 1 to 3, as in transformers' `LlamaForCausalLM`. */

import { z } from "zod";
import { readConfig } from "./config/config.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

const schema = z.object({
  ...llamaShape,
  attention_bias: z.boolean().default(false),
  mlp_bias: z.boolean().default(false),
});

export const llama: Family = {
  modelType: "llama",
  read(object, has) {
    const config = readConfig(schema, object);
    const { attention_bias: attention, mlp_bias: feedForward } = config;
    return llamaModel(config, has, { biases: { qkv: attention, out: attention, feedForward } });
  },
};
