/** Qwen2 and Qwen3. */

import { z } from "zod";
import { HEAD_NORMS, LLAMA_LAYERS, QKV_BIASES } from "../architecture.ts";
import { flag, layerTypesShape, positiveInt, readWindow } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { FIXED_HEAD_SIZE, GATED_NEURONS } from "../units.ts";

const qwenShape = {
  ...llamaShape,
  ...layerTypesShape,
  num_key_value_heads: positiveInt.nullable().default(32),
  use_sliding_window: flag,
  sliding_window: positiveInt.nullable().default(4096),
  /** The number of blocks before the first block with a sliding window, unless `layer_types` decides for each block. */
  max_window_layers: z.int().nonnegative().default(28),
};

/** Qwen2 (arXiv 2407.10671) has biases for q, k and v. Some of its blocks may have a sliding attention window. */
export const qwen2 = llamaFamily(
  "qwen2",
  z.object(qwenShape),
  (config) => ({
    biases: { qkv: true },
    window: readWindow(config, (index) => index >= config.max_window_layers),
  }),
  {
    gguf: { name: "qwen2", layers: LLAMA_LAYERS, biases: QKV_BIASES },
    units: { neurons: GATED_NEURONS, heads: FIXED_HEAD_SIZE },
    textParts: {
      qwen2_5_vl: {
        // Older versions of transformers write the settings of the text part into the outermost object.
        types: [undefined, "qwen2_5_vl_text", "qwen2_5_vl"],
        defaults: {
          num_key_value_heads: 8,
          rms_norm_eps: 1e-5,
          rope_theta: 1_000_000,
          max_window_layers: 80,
        },
        isTiedByEither: true,
      },
    },
  },
);

/** Qwen3 (arXiv 2505.09388) has norms for the heads of q and k, and the windows of Qwen2. */
export const qwen3 = llamaFamily(
  "qwen3",
  z.object({ ...qwenShape, head_dim: positiveInt.nullable().default(128), attention_bias: flag }),
  (config) => ({
    biases: { qkv: config.attention_bias, out: config.attention_bias },
    queryKeyNorm: "heads",
    window: readWindow(config, (index) => index >= config.max_window_layers),
  }),
  {
    gguf: { name: "qwen3", layers: { ...LLAMA_LAYERS, ...HEAD_NORMS } },
    units: { neurons: GATED_NEURONS, heads: {} },
    textParts: { qwen3_vl: { types: [undefined, "qwen3_vl_text"], defaults: { rope_theta: 500_000 } } },
  },
);
