/** LLaMA (Touvron et al., arXiv 2302.13971), versions 1 to 3. */

import { z } from "zod";
import { LLAMA } from "../architecture.ts";
import { flag } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { GATED_NEURONS } from "../units.ts";

export const llama = llamaFamily(
  "llama",
  z.object({ ...llamaShape, attention_bias: flag, mlp_bias: flag }),
  ({ attention_bias: attention, mlp_bias: bias }) => ({
    biases: { qkv: attention, out: attention },
    network: { bias },
  }),
  {
    gguf: LLAMA,
    units: { neurons: GATED_NEURONS, heads: { dividesHiddenSize: true } },
  },
);
