/** ERNIE 4.5 with a mixture of experts (Baidu 2025) has the block of ERNIE 4.5. Corrections of the softmax of the router choose the experts. */

import { z } from "zod";
import { EXPERTS, gatedNames, LLAMA_LAYERS } from "../architecture.ts";
import { configError, positiveInt } from "../config/config.ts";
import { ernieShape, ernieTraits, withErnieTheta } from "../dense/ernie4_5.ts";
import { llamaFamily } from "../llama/llama_model.ts";
import { mixtureTraits } from "../llama/mixture_traits.ts";

const shape = {
  ...ernieShape,
  num_key_value_heads: positiveInt.nullable().default(4),
  moe_intermediate_size: positiveInt.default(1536),
  moe_num_experts: positiveInt.default(64),
  moe_k: positiveInt.default(6),
  moe_num_shared_experts: z.int().nonnegative().default(2),
  /** The first and the last block that may have experts. -1 means the last block of the model. */
  moe_layer_start_index: z.int().nonnegative().default(1),
  moe_layer_end_index: z.int().min(-1).default(-1),
  /** Of these blocks, only every so many have experts. */
  moe_layer_interval: positiveInt.default(1),
};

export const ernie45Moe = llamaFamily(
  "ernie4_5_moe",
  z.object(shape).transform(withErnieTheta),
  (config) => {
    const { moe_layer_start_index: first, moe_layer_end_index: last, moe_layer_interval: interval } = config;
    const bias = config.use_bias ?? false,
      { moe_num_shared_experts: shared, moe_intermediate_size: intermediate } = config;
    if (bias && config.tie_word_embeddings) {
      throw configError("use_bias true with tie_word_embeddings true is not supported");
    }
    return {
      ...ernieTraits(config),
      headBias: bias,
      hasNoExperts: (index) => (index + 1) % interval !== 0 || index < first || last >= 0 && index > last,
      ...mixtureTraits({ ...config, num_experts_per_tok: config.moe_k }, {
        experts: config.moe_num_experts,
        correction: "moe_statics.e_score_correction_bias",
        correctionShape: [1, config.moe_num_experts],
        shared: shared === 0
          ? undefined
          : { name: "mlp.shared_experts", intermediate: shared * intermediate, bias },
      }, "moe_k"),
    };
  },
  {
    experts: "all",
    gguf: {
      name: "ernie4_5-moe",
      layers: { ...LLAMA_LAYERS, ...EXPERTS, ...gatedNames("mlp.shared_experts", "_shexp") },
      vectors: { "mlp.moe_statics.e_score_correction_bias": "exp_probs_b.bias" },
      mixture: { isNormalized: true, denseBlocks: "first", sharedSize: "length" },
      numbers: () => ({ interleave_moe_layer_step: 1 }),
    },
  },
);
