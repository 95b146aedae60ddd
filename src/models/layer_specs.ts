/** The declarations of linear layers and norms: their sizes, and the names of their tensors in a checkpoint. */

/** Linear layers that share one input, such as the query, key and value projections. */
export type LinearGroup = readonly [LinearSpec, ...LinearSpec[]];

/** A linear layer, y = x·Wᵀ + b. */
export interface LinearSpec {
  /**
   * The name of the layer. Its tensors are `NAME.weight` and, with `bias`, `NAME.bias` (outFeatures). The
   * shape of the weight is (outFeatures, inFeatures), unless the layer is transposed.
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
}

/** Returns the declaration of a linear layer. By default it has no bias. */
export function linearSpec(name: string, inFeatures: number, outFeatures: number, bias = false): LinearSpec {
  return { name, inFeatures, outFeatures, bias };
}

/** Returns the shape in which a checkpoint stores the weight of a layer. */
export function storedShape({ inFeatures, outFeatures, isTransposed = false }: LinearSpec): [number, number] {
  return isTransposed ? [inFeatures, outFeatures] : [outFeatures, inFeatures];
}

/** A LayerNorm or an RMSNorm over the last axis. */
export interface NormSpec {
  readonly kind: "layer" | "rms";
  /** The name of the norm. With `affine`, its tensors are `NAME.weight` (size) and, for a LayerNorm, `NAME.bias` (size). */
  readonly name: string;
  readonly size: number;
  /** The number that is added to the variance, or to the mean square, before the square root. */
  readonly eps: number;
  readonly affine: boolean;
}
