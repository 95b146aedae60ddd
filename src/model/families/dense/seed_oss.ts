/** Seed-OSS (ByteDance 2025) has heads of a fixed size, and biases for q, k and v. */

import { z } from "zod";
import { ATTENTION, GATED, QKV_BIASES, RENAMED_NORMS } from "../architecture.ts";
import { flag, positiveInt } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { GATED_NEURONS } from "../units.ts";

export const seedOss = llamaFamily(
  "seed_oss",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    head_dim: positiveInt.nullable().default(128),
    attention_bias: z.boolean().default(true),
    attention_out_bias: flag,
    mlp_bias: flag,
  }),
  ({ attention_bias: qkv, attention_out_bias: out, mlp_bias: bias }) => ({
    biases: { qkv, out },
    network: { bias },
  }),
  {
    gguf: { name: "seed_oss", layers: { ...ATTENTION, ...GATED, ...RENAMED_NORMS }, biases: QKV_BIASES },
    units: { neurons: GATED_NEURONS, heads: {} },
  },
);
