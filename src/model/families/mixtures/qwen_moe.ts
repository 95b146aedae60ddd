/** Qwen2-MoE and Qwen3-MoE, and the settings that all mixtures of Qwen share. */

import { z } from "zod";
import { stopAtFault } from "../../../base/stop_at_fault.ts";
import { ATTENTION, EXPERTS, gatedNames, HEAD_NORMS, NORMS_BEFORE, QKV_BIASES } from "../architecture.ts";
import { layerTypesShape, positiveInt, readWindow } from "../config/config.ts";
import { llamaFamily, llamaShape } from "../llama/llama_model.ts";
import type { LlamaTraits } from "../llama/llama_traits.ts";
import { type MixtureSettings, mixtureTraits } from "../llama/mixture_traits.ts";
import { NEURONS_OF_EXPERTS } from "../units.ts";

/** The settings of Qwen's mixtures that say which blocks have no experts. */
export const qwenDenseShape = {
  /** Only every so many blocks have experts. */
  decoder_sparse_step: positiveInt.default(1),
  /** The indices of further blocks without experts. */
  mlp_only_layers: stopAtFault(z.array(z.int())).nullish(),
};

export function qwenHasNoExperts(
  { decoder_sparse_step: step, mlp_only_layers: dense }: z.infer<z.ZodObject<typeof qwenDenseShape>>,
): (index: number) => boolean {
  return (index) => (index + 1) % step !== 0 || dense?.includes(index) === true;
}

/** The settings of Qwen's mixtures with a shared expert. */
interface QwenExperts extends MixtureSettings {
  readonly num_experts: number;
  readonly shared_expert_intermediate_size: number;
}

/** Returns the trait of Qwen's mixtures with a shared expert, which has a gate. */
export function qwenSharedExperts(config: QwenExperts): Pick<LlamaTraits, "experts"> {
  return mixtureTraits(config, {
    experts: config.num_experts,
    shared: {
      name: "mlp.shared_expert",
      intermediate: config.shared_expert_intermediate_size,
      gate: "shared_expert_gate",
    },
  });
}

/** The names in GGUF of Qwen's experts with a shared expert. */
export const QWEN_EXPERTS = {
  ...EXPERTS,
  ...gatedNames("mlp.shared_expert", "_shexp"),
  "mlp.shared_expert_gate": "ffn_gate_inp_shexp",
};

/** Qwen3-MoE (arXiv 2505.09388) has Qwen3's block. */
export const qwen3Moe = llamaFamily(
  "qwen3_moe",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(4),
    attention_bias: z.boolean().default(false),
    use_sliding_window: z.boolean().default(false),
    sliding_window: positiveInt.nullable().default(4096),
    moe_intermediate_size: positiveInt.default(768),
    /** Versions of transformers since 5 write `num_local_experts`. */
    num_experts: positiveInt.nullish(),
    num_local_experts: positiveInt.nullish(),
    num_experts_per_tok: positiveInt.default(8),
    norm_topk_prob: z.boolean().default(false),
    ...qwenDenseShape,
  }),
  ({ attention_bias: bias, ...config }) => ({
    biases: { qkv: bias, out: bias },
    queryKeyNorm: "heads",
    window: () => config.use_sliding_window ? config.sliding_window ?? 0 : 0,
    hasNoExperts: qwenHasNoExperts(config),
    ...mixtureTraits(config, {
      experts: config.num_local_experts ?? config.num_experts ?? 128,
    }),
  }),
  {
    experts: "all",
    gguf: {
      name: "qwen3moe",
      layers: { ...ATTENTION, ...NORMS_BEFORE, ...HEAD_NORMS, ...EXPERTS },
      mixture: { isNormalized: true },
    },
    units: { neurons: NEURONS_OF_EXPERTS, heads: {}, experts: ["num_experts", "num_local_experts"] },
  },
);

/** Qwen2-MoE (arXiv 2407.10671) has Qwen2's block with a shared expert. */
export const qwen2Moe = llamaFamily(
  "qwen2_moe",
  z.object({
    ...llamaShape,
    ...layerTypesShape,
    ...qwenDenseShape,
    num_key_value_heads: positiveInt.nullable().default(16),
    qkv_bias: z.boolean().default(true),
    use_sliding_window: z.boolean().default(false),
    /** transformers writes 0 if no block has a window. */
    sliding_window: z.int().nonnegative().nullable().default(4096),
    /** Every second one of so many first blocks has a window, beginning with block 0, unless `layer_types` decides for each block. */
    max_window_layers: z.int().nonnegative().default(28),
    moe_intermediate_size: positiveInt.default(1408),
    shared_expert_intermediate_size: positiveInt.default(5632),
    num_experts: positiveInt.default(60),
    num_experts_per_tok: positiveInt.default(4),
    norm_topk_prob: z.boolean().default(false),
  }),
  (config) => ({
    biases: { qkv: config.qkv_bias },
    window: readWindow(config, (index) => index % 2 === 0 && index < config.max_window_layers),
    hasNoExperts: qwenHasNoExperts(config),
    ...qwenSharedExperts(config),
  }),
  {
    experts: "all",
    gguf: {
      name: "qwen2moe",
      layers: { ...ATTENTION, ...NORMS_BEFORE, ...QWEN_EXPERTS },
      biases: QKV_BIASES,
      mixture: { isNormalized: false, sharedSize: "length" },
      settings: { tie_word_embeddings: false },
    },
  },
);
