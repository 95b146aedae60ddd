/**
 * EXAONE 4 (arXiv 2507.11407) has norms after each half, and of the heads of q and k. If some blocks have a sliding window, the others do not
 * rotate queries and keys.
 */

import { z } from "zod";
import { OLMO2, rotatesThreeOfFour } from "../architecture.ts";
import { epsilon, layerTypesShape, positiveInt, readLayerTypes } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import { GATED_NEURONS } from "../units.ts";

export const exaone4 = llamaFamily(
  "exaone4",
  z.object({
    ...llamaShape,
    ...layerTypesShape,
    num_key_value_heads: positiveInt.nullable().default(32),
    rms_norm_eps: epsilon.default(1e-5),
    sliding_window: positiveInt.nullable().default(4096),
    /** In configurations without `layer_types`, the last of every so many blocks has no window. LLLG, with a G for it, means 4. */
    sliding_window_pattern: z.union([
      z.int().nonnegative(),
      z.string().regex(/^L+G$/).transform(({ length }) => length),
    ]).nullable().default(4),
  }),
  ({ sliding_window: window, sliding_window_pattern: pattern, ...config }) => {
    const isSliding = readLayerTypes(config, (index) => Boolean(pattern) && (index + 1) % pattern! !== 0);
    return {
      normPlacement: "after",
      queryKeyNorm: "heads",
      window: (index) => isSliding(index) ? window ?? 0 : 0,
      hasRotary: (index) => window === null || isSliding(index),
    };
  },
  {
    gguf: {
      ...OLMO2,
      name: "exaone4",
      hasRotaryDivisors: true,
      // llama.cpp recognises the model with 32 billion parameters by its number of blocks.
      variant: ({ num_hidden_layers }) =>
        num_hidden_layers === 64 ? { windowPeriod: 4, rotates: rotatesThreeOfFour } : {},
    },
    units: { neurons: GATED_NEURONS, blockList: "layer_types" },
  },
);
