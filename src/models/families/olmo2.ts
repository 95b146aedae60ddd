/**
 * The family OLMo 2 (arXiv 2501.00656): LLaMA's block with norms after each half instead of before it, and with
 * norms of queries and keys over all heads of a token, as in transformers' `Olmo2ForCausalLM`.
 */

import { z } from "zod";
import { epsilon, readConfig } from "./config/config.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `Olmo2Config` in transformers. */
const schema = z.object({
  ...llamaShape,
  rms_norm_eps: epsilon.default(1e-5),
  attention_bias: z.boolean().default(false),
});

export const olmo2: Family = {
  modelType: "olmo2",
  read(object, has) {
    const config = readConfig(schema, object);
    const biases = { qkv: config.attention_bias, out: config.attention_bias };
    return llamaModel(config, has, { biases, normPlacement: "after", queryKeyNorm: "rows" });
  },
};
