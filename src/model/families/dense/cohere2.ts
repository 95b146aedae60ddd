/**
 * Command R7B and Command A (Cohere, arXiv 2504.00698) have one LayerNorm, after which attention and the feed-forward network run in
 * parallel. Blocks without a sliding window do not rotate queries and keys.
 */

import { z } from "zod";
import { ATTENTION, GATED, rotatesThreeOfFour } from "../architecture.ts";
import { epsilon, layerTypesShape, positiveInt, readLayerTypes } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { GATED_NEURONS } from "../units.ts";

export const cohere2 = llamaFamily(
  "cohere2",
  z.object({
    ...llamaShape,
    layer_norm_eps: epsilon.default(1e-5),
    ...layerTypesShape,
    attention_bias: z.boolean().default(false),
    logit_scale: z.number().positive().default(0.0625),
    sliding_window: positiveInt.nullable().default(4096),
    /** In configurations without `layer_types`, the last of every so many blocks has no window. */
    sliding_window_pattern: positiveInt.default(4),
    tie_word_embeddings: z.boolean().default(true),
  }).transform((config) => ({ ...config, rms_norm_eps: config.layer_norm_eps })),
  ({ attention_bias: bias, sliding_window: window, ...config }) => {
    const isSliding = readLayerTypes(config, (index) => (index + 1) % config.sliding_window_pattern !== 0);
    return {
      biases: { qkv: bias, out: bias },
      normPlacement: "shared",
      norm: { kind: "layer", bias: false },
      isInterleaved: true,
      window: (index) => isSliding(index) ? window ?? 0 : 0,
      hasRotary: (index) => window !== null && isSliding(index),
      logits: { scale: config.logit_scale },
    };
  },
  {
    gguf: {
      name: "cohere2",
      layers: { ...ATTENTION, ...GATED, "input_layernorm": "attn_norm" },
      windowPeriod: 4,
      sharesHead: true,
      multipliesLogits: true,
      rotates: rotatesThreeOfFour,
      factors: ({ logitScale }) => ({ logitScale }),
    },
    units: { neurons: GATED_NEURONS, blockList: "layer_types" },
  },
);
