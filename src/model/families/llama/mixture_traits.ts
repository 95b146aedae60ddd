/** The trait of families that have a mixture of experts in the place of LLaMA's feed-forward network. */

import { MAX_EXPERTS } from "../../checkpoint/fused_experts.ts";
import type { ExpertGroups } from "../../pieces/routing.ts";
import { configError } from "../config/config.ts";
import { type ExpertsSpec, mixtureOfExperts } from "./experts.ts";
import { GATED_LAYERS } from "./feed_forward.ts";
import type { LlamaTraits } from "./llama_traits.ts";

/** The settings of a mixture that have the same names in most families. */
export interface MixtureSettings {
  readonly num_experts_per_tok: number;
  /** Whether the factors of a token are divided by their sum. Defaults to true. */
  readonly norm_topk_prob?: boolean;
  /** The size of an expert. @default the size of the family's feed-forward network */
  readonly moe_intermediate_size?: number;
}

/** The other properties of a mixture. */
type Mixture = Pick<ExpertsSpec, "experts"> & Partial<Omit<ExpertsSpec, "hidden" | "activation">>;

/**
 * Returns the trait that puts the mixture in the place of the feed-forward network. Most families give the mixture and its layers the
 * default names.
 * @param perToken the name in the family of `num_experts_per_tok`
 * @throws {ModelError} if a token would go to more experts than there are
 */
export function mixtureTraits(
  { num_experts_per_tok: expertsPerToken, norm_topk_prob: isNormalized = true, ...settings }: MixtureSettings,
  mixture: Mixture,
  perToken = "num_experts_per_tok",
): Pick<LlamaTraits, "experts"> {
  const { experts, groups } = mixture, rule = { expertsPerToken, isNormalized };
  if (expertsPerToken > experts || experts > MAX_EXPERTS) {
    throw configError(
      `${perToken} ${expertsPerToken} with ${experts} experts is not supported; the limits ` +
        `are the number of experts and ${MAX_EXPERTS} experts`,
    );
  }
  if (groups) checkGroups(groups, experts, expertsPerToken);
  return {
    experts({ hidden, intermediate: common }, activation) {
      const names = { name: "mlp", layers: GATED_LAYERS },
        intermediate = settings.moe_intermediate_size ?? common;
      return mixtureOfExperts({ ...names, ...rule, hidden, intermediate, activation, ...mixture });
    },
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
