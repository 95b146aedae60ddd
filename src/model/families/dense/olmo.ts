/** OLMo 2 and OLMo 3, which follow the classes of transformers of the same names. */

import { z } from "zod";
import { OLMO2 } from "../architecture.ts";
import {
  epsilon,
  headDimension,
  layerTypesShape,
  positiveInt,
  readConfig,
  readLayerTypes,
} from "../config/config.ts";
import { readTwoRotations, twoRotationsShape } from "../config/rotary_config.ts";
import { llamaFamily, llamaModel, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import type { Family } from "../model_family.ts";
import { GATED_NEURONS, NORMS_OF_ALL_HEADS } from "../units.ts";

const olmoShape = {
  ...llamaShape,
  rms_norm_eps: epsilon.default(1e-5),
  attention_bias: z.boolean().default(false),
};

function olmoTraits({ attention_bias: bias }: { readonly attention_bias: boolean }): LlamaTraits {
  return {
    biases: { qkv: bias, out: bias },
    normPlacement: "after",
    queryKeyNorm: "rows",
  };
}

/** OLMo 2 (arXiv 2501.00656) has norms after each half instead of before it, and of q and k over all heads of a token. */
export const olmo2 = llamaFamily("olmo2", z.object(olmoShape), olmoTraits, {
  gguf: OLMO2,
  units: { neurons: GATED_NEURONS, heads: NORMS_OF_ALL_HEADS },
});

const olmo3Schema = z.object({
  ...olmoShape,
  ...layerTypesShape,
  ...twoRotationsShape,
  sliding_window: positiveInt.nullable().default(4096),
});

/** OLMo 3 (Allen Institute for AI 2025) has OLMo 2's block. Three of four blocks have a sliding window, and a rotation without scaling. */
export const olmo3: Family = {
  modelType: "olmo3",
  gguf: { ...OLMO2, windowPeriod: 4, windowTheta: "common" },
  units: { neurons: GATED_NEURONS, heads: NORMS_OF_ALL_HEADS, blockList: "layer_types" },
  read(object, has) {
    const config = readConfig(olmo3Schema, object), { sliding_window: window } = config;
    const isSliding = readLayerTypes(config, (index) => (index + 1) % 4 !== 0);
    const theta = config.rope_theta ?? 500_000;
    const headDim = config.head_dim ?? headDimension(config.hidden_size, config.num_attention_heads);
    const { full, sliding } = readTwoRotations(config, headDim, { full: theta, sliding: theta });
    return llamaModel({ ...config, rope_parameters: null }, has, {
      ...olmoTraits(config),
      window: (index) => isSliding(index) ? window ?? 0 : 0,
      rotary: (index) => isSliding(index) ? sliding : full,
    });
  },
};
