/**
 * The families whose blocks have a mixture of experts in the place of LLaMA's feed-forward network. Each follows the
 * class of transformers that its config.json belongs to, and so do the defaults of its settings.
 */

import { z } from "zod";
import { stopAtFault } from "../../base/stop_at_fault.ts";
import { MAX_EXPERTS } from "../checkpoint/fused_experts.ts";
import { configError, epsilon, layerTypesShape, positiveInt, readWindow } from "./config/config.ts";
import { type ExpertsSpec, mixtureOfExperts } from "./llama/experts.ts";
import { llamaFamily, llamaShape } from "./llama/llama_model.ts";
import type { LlamaTraits } from "./llama/llama_traits.ts";
import type { ExpertGroups } from "../pieces/routing.ts";

/** The settings of a mixture. Without `intermediate`, the experts have the size of the family's feed-forward network. */
type Mixture =
  & Omit<ExpertsSpec, "hidden" | "activation" | "name" | "layers" | "intermediate">
  & Partial<Pick<ExpertsSpec, "name" | "layers" | "intermediate">>;

/**
 * Returns the trait that puts the mixture in the place of the feed-forward network. Most families give the mixture and its layers the
 * default names.
 * @param perToken the name of the setting with the number of experts to which a token goes
 * @throws {ModelError} if a token would go to more experts than there are
 */
export function mixtureTraits(
  mixture: Mixture,
  perToken = "num_experts_per_tok",
): Pick<LlamaTraits, "feedForward"> {
  const { experts, expertsPerToken, groups } = mixture;
  if (expertsPerToken > experts || experts > MAX_EXPERTS) {
    throw configError(
      `${perToken} ${expertsPerToken} with ${experts} experts is not supported; the limits ` +
        `are the number of experts and ${MAX_EXPERTS} experts`,
    );
  }
  if (groups) checkGroups(groups, experts, expertsPerToken);
  const layers = { gate: "gate_proj", up: "up_proj", down: "down_proj" };
  return {
    feedForward: ({ hidden, intermediate }, activation) =>
      mixtureOfExperts({ name: "mlp", layers, hidden, intermediate, activation, ...mixture }),
  };
}

/** @throws {ModelError} if the groups have different sizes, or too few experts */
function checkGroups(
  { count, perToken, summed }: ExpertGroups,
  experts: number,
  expertsPerToken: number,
): void {
  const size = experts / count;
  const isPossible = Number.isInteger(size) && size >= summed && perToken <= count &&
    expertsPerToken <= perToken * size;
  if (isPossible) return;
  throw configError(
    `${experts} experts in n_group ${count} with topk_group ${perToken} and num_experts_per_tok ` +
      `${expertsPerToken} is not supported; the groups must have equal sizes of at least ${summed}, and the chosen ` +
      `groups must have enough experts`,
  );
}

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
interface QwenExperts {
  readonly num_experts: number;
  readonly num_experts_per_tok: number;
  readonly norm_topk_prob: boolean;
  readonly moe_intermediate_size: number;
  readonly shared_expert_intermediate_size: number;
}

/** Returns the trait of Qwen's mixtures with a shared expert, which has a gate. */
export function qwenSharedExperts(config: QwenExperts): Pick<LlamaTraits, "feedForward"> {
  return mixtureTraits({
    experts: config.num_experts,
    expertsPerToken: config.num_experts_per_tok,
    isNormalized: config.norm_topk_prob,
    intermediate: config.moe_intermediate_size,
    shared: {
      name: "mlp.shared_expert",
      intermediate: config.shared_expert_intermediate_size,
      gate: "shared_expert_gate",
    },
  });
}

/** The names in the published checkpoints of Mixtral. */
const ORIGINAL_MIXTRAL_NAMES = {
  name: "block_sparse_moe",
  layers: { gate: "w1", up: "w3", down: "w2" },
};

/** Mixtral (Jiang et al., arXiv 2401.04088) has Mistral's block. */
export const mixtral = llamaFamily(
  "mixtral",
  z.object({
    ...llamaShape,
    num_key_value_heads: positiveInt.nullable().default(8),
    rms_norm_eps: epsilon.default(1e-5),
    sliding_window: positiveInt.nullish(),
    num_local_experts: positiveInt.default(8),
    num_experts_per_tok: positiveInt.default(2),
  }).transform((config) => ({ ...config, rope_theta: config.rope_theta ?? 1_000_000 })),
  (config, has) => ({
    window: () => config.sliding_window ?? 0,
    ...mixtureTraits({
      experts: config.num_local_experts,
      expertsPerToken: config.num_experts_per_tok,
      isNormalized: true,
      // transformers writes these names unless one tensor has the weights of all experts.
      ...["model.", ""].some((root) => has(`${root}layers.0.mlp.gate.weight`)) ? {} : ORIGINAL_MIXTRAL_NAMES,
    }),
  }),
);

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
    ...mixtureTraits({
      experts: config.num_local_experts ?? config.num_experts ?? 128,
      expertsPerToken: config.num_experts_per_tok,
      isNormalized: config.norm_topk_prob,
      intermediate: config.moe_intermediate_size,
    }),
  }),
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
);

/** OLMoE (Muennighoff et al., arXiv 2409.02060) has norms of queries and keys over all heads of a token. */
export const olmoe = llamaFamily(
  "olmoe",
  z.object({
    ...llamaShape,
    rms_norm_eps: epsilon.default(1e-5),
    attention_bias: z.boolean().default(false),
    clip_qkv: z.number().nullish(),
    num_experts: positiveInt.default(64),
    num_experts_per_tok: positiveInt.default(8),
    norm_topk_prob: z.boolean().default(false),
  }),
  ({ attention_bias: bias, ...config }) => {
    const experts = mixtureTraits({
      experts: config.num_experts,
      expertsPerToken: config.num_experts_per_tok,
      isNormalized: config.norm_topk_prob,
    });
    if (config.clip_qkv !== null && config.clip_qkv !== undefined) {
      throw configError(`clip_qkv ${config.clip_qkv} is not supported`);
    }
    return { biases: { qkv: bias, out: bias }, queryKeyNorm: "rows", ...experts };
  },
);
