/** Describes a mixture of experts by the keys of GGUF, and compares it with what llama.cpp computes. */

import { configError } from "../families/config/config.ts";
import type { MixtureForm } from "../families/architecture.ts";
import { blocksOf, firstTrait, type MixtureTraits, type ModelSpec } from "../families/family.ts";
import { bool, f32, type MetadataEntry, u32 } from "./container.ts";
import { titleOf } from "./architecture.ts";

/** The codes of the functions that compute scores from the outputs of a router. */
const SCORE_CODES = { softmax: 1, sigmoid: 2 } as const;

/** llama.cpp chooses groups of experts by the sum of so many of their largest scores. */
const SUMMED = 2;

/**
 * Returns the entries of a mixture.
 * @param name the name of the architecture
 * @throws {ModelError} if llama.cpp computes another mixture
 */
export function mixtureEntries(spec: ModelSpec, name: string, form: MixtureForm): MetadataEntry[] {
  const mixture = firstTrait(spec, "mixture");
  if (!mixture) {
    throw configError(`no block has experts, which ${titleOf(name)} does not support`);
  }
  const { experts, expertsPerToken, intermediate, shared } = mixture;
  return [
    [`${name}.expert_count`, u32(experts)],
    [`${name}.expert_used_count`, u32(expertsPerToken)],
    [`${name}.expert_feed_forward_length`, u32(intermediate)],
    ...form.sharedSize === "length" && shared
      ? [[`${name}.expert_shared_feed_forward_length`, u32(shared.intermediate)] as const]
      : [],
    ...form.sharedSize === "multiple"
      ? [[`${name}.expert_shared_count`, u32(shared!.intermediate / intermediate)] as const]
      : [],
    ...routingEntries(mixture, name, form),
    ...denseEntries(spec, name, form),
  ];
}

/** Returns the entries of how tokens choose experts, if llama.cpp reads them. */
function routingEntries(
  { isNormalized, scores = "softmax", scale = 1, groups }: MixtureTraits,
  name: string,
  form: MixtureForm,
): MetadataEntry[] {
  if (form.isNormalized !== "described") {
    if (isNormalized === form.isNormalized) return [];
    throw configError(
      `norm_topk_prob must be ${form.isNormalized} for ${titleOf(name)}, not ${isNormalized}`,
    );
  }
  const hasGroups = groups !== undefined && groups.perToken < groups.count;
  if (hasGroups && groups.summed !== SUMMED) {
    throw configError(
      `a group of experts is chosen by its largest score, but ${titleOf(name)} adds the ${SUMMED} largest`,
    );
  }
  return [
    [`${name}.expert_gating_func`, u32(SCORE_CODES[scores])],
    [`${name}.expert_weights_norm`, bool(isNormalized)],
    [`${name}.expert_weights_scale`, f32(scale)],
    ...hasGroups
      ? [
        [`${name}.expert_group_count`, u32(groups.count)] as const,
        [`${name}.expert_group_used_count`, u32(groups.perToken)] as const,
      ]
      : [],
  ];
}

/** Returns the entry that says which blocks have no experts. @throws {ModelError} if they differ from the architecture's */
function denseEntries(spec: ModelSpec, name: string, { denseBlocks }: MixtureForm): MetadataEntry[] {
  if (denseBlocks === "any") return [];
  const hasExperts = blocksOf(spec).map(({ traits }) => traits?.mixture !== undefined);
  const first = hasExperts.indexOf(true), period = first + 1;
  const isExpected = hasExperts.every((has, index) =>
    has === (denseBlocks === "periodic" ? (index + 1) % period === 0 : index >= first)
  );
  if (!isExpected || first > 0 && !denseBlocks) {
    throw configError(
      `some blocks have no experts, which ${titleOf(name)} does not support` +
        (denseBlocks === undefined
          ? ""
          : denseBlocks === "first"
          ? " after the first block with experts"
          : ` unless exactly the blocks have experts whose index plus 1 is a multiple of one number`),
    );
  }
  if (!denseBlocks) return [];
  return [
    denseBlocks === "first"
      ? [`${name}.leading_dense_block_count`, u32(first)]
      : [`${name}.interleave_moe_layer_step`, u32(period)],
  ];
}
