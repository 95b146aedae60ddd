/**
 * The family Phi-3 (Abdin et al., arXiv 2404.14219): LLaMA's block with one fused linear layer for q, k and v
 * and one for gate and up, as in transformers' `Phi3ForCausalLM`.
 */

import { z } from "zod";
import { epsilon, positive, readConfig } from "./config/config.ts";
import type { Family } from "./family.ts";
import { llamaModel, llamaShape } from "./llama/llama_model.ts";

/** The defaults are those of the class `Phi3Config` in transformers. */
const schema = z.object({
  ...llamaShape,
  rms_norm_eps: epsilon.default(1e-5),
  original_max_position_embeddings: positive.default(4096),
  sliding_window: positive.nullish(),
});

export const phi3: Family = {
  modelType: "phi3",
  read(object, has) {
    const config = readConfig(schema, object);
    const window = () => config.sliding_window ?? 0;
    return llamaModel(config, has, { fused: true, partialRotation: true, window });
  },
};
