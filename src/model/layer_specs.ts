/** The declarations of linear layers and norms: their sizes, and the names of their tensors in a checkpoint. */

/** Linear layers that share one input, such as the query, key and value projections. */
export type LinearGroup = readonly [LinearSpec, ...LinearSpec[]];

/** A linear layer, y = x·Wᵀ + b. */
export interface LinearSpec {
  /**
   * The layer has the tensors `NAME.weight` and, with `bias`, `NAME.bias` (outFeatures). The weight is (outFeatures, inFeatures), unless
   * the layer is transposed.
   */
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
  /**
   * Whether the checkpoint stores the weight transposed, as (inFeatures, outFeatures). The class `Conv1D` of
   * transformers does so. Defaults to false.
   */
  readonly isTransposed?: boolean;
  /** The class of the layer in transformers, if it is neither `Linear` nor `Conv1D`. */
  readonly ownClass?: string;
  /**
   * The role of a layer of an expert, which is its name without the number of the expert. The layers of all experts with one role run one
   * after the other, so they share memory for their outputs. Undefined for a layer that is not part of an expert.
   */
  readonly expertRole?: string;
}

/** Returns the role of a layer in its block. Only layers of several experts share a role. */
export function roleOf({ name, expertRole }: LinearSpec): string {
  return expertRole ?? name;
}

/**
 * Divides the groups of a block into stages. The groups of a stage are consecutive and have one role, so none
 * of them depends on the outputs of another.
 */
export function stagesOf(groups: readonly LinearGroup[]): LinearGroup[][] {
  const stages = Map.groupBy(groups, ([first]) => roleOf(first));
  return [...stages.values()];
}

/**
 * Returns the groups of a mixture whose outputs no observed group depends on. A mixture consists of the groups from the first one of an
 * expert on. Its stages have one group per expert, in the same order. Stages without a role belong to the shared expert.
 * @param observed defaults to all groups
 */
export function groupsWithoutReaders(
  groups: readonly LinearGroup[],
  observed: { has(group: LinearGroup): boolean } = new Set(groups),
): LinearGroup[] {
  const first = groups.findIndex(([layer]) => layer.expertRole !== undefined);
  if (first < 0) return [];
  const { routed = [], shared = [] } = Object.groupBy(
    stagesOf(groups.slice(first)),
    ([[layer]]) => layer.expertRole === undefined ? "shared" : "routed",
  );
  const experts = [...routed[0].map((_, expert) => routed.map((stage) => stage[expert])), shared.flat()];
  return experts.flatMap((layers) =>
    layers.filter((_, i) => !layers.slice(i + 1).some((later) => observed.has(later)))
  );
}

export type LinearOptions = Partial<Pick<LinearSpec, "bias" | "isTransposed" | "ownClass">>;

/** @param options whether the layer has a bias, or its options */
export function linearSpec(
  name: string,
  inFeatures: number,
  outFeatures: number,
  options: boolean | LinearOptions = false,
): LinearSpec {
  const { bias = false, ...others } = typeof options === "boolean" ? { bias: options } : options;
  return { name, inFeatures, outFeatures, bias, ...others };
}

/** Returns the names of the tensors that a checkpoint stores for a norm, (size) each. */
export function normTensors({ kind, name, affine, bias = true, weightName = "weight" }: NormSpec): string[] {
  if (!affine) return [];
  return [`${name}.${weightName}`, ...kind === "layer" && bias ? [`${name}.bias`] : []];
}

/** Returns the shape in which a checkpoint stores the weight of a layer. */
export function storedShape({ inFeatures, outFeatures, isTransposed = false }: LinearSpec): [number, number] {
  return isTransposed ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
}

/** A tensor of a block that is neither a layer nor a norm, such as a vector. NAME is its complete name in the block. */
export interface VectorSpec {
  readonly name: string;
  /** The number of elements. */
  readonly size: number;
  /** The shape in which the checkpoint stores it. Defaults to (size). */
  readonly shape?: readonly number[];
}

/** A LayerNorm or an RMSNorm over the last axis. */
export interface NormSpec {
  readonly kind: "layer" | "rms";
  /**
   * The name of the norm. With `affine`, its tensors are NAME.`weightName` (size) and, for a LayerNorm with a bias, `NAME.bias` (size).
   */
  readonly name: string;
  readonly size: number;
  /** The number that is added to the variance, or to the mean square, before the square root. */
  readonly eps: number;
  readonly affine: boolean;
  /** The last part of the name of the weight. Defaults to `weight`. */
  readonly weightName?: string;
  /** Whether a LayerNorm has a bias. Defaults to true. */
  readonly bias?: boolean;
  /** A number that is added to every weight of the checkpoint. Gemma stores weights minus 1. Defaults to 0. */
  readonly weightOffset?: number;
}
