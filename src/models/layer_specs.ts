/** The declarations of linear layers and norms: their sizes, and the names of their tensors in a checkpoint. */

/** Linear layers that share one input, such as the query, key and value projections. */
export type LinearGroup = readonly [LinearSpec, ...LinearSpec[]];

/** A linear layer, y = x·Wᵀ + b. */
export interface LinearSpec {
  /**
   * The name of the layer. Its tensors are `NAME.weight` (outFeatures, inFeatures) and, with `bias`, `NAME.bias` (outFeatures).
   */
  readonly name: string;
  readonly inFeatures: number;
  readonly outFeatures: number;
  readonly bias: boolean;
}

/** Returns the declaration of a linear layer. By default it has no bias. */
export function linearSpec(name: string, inFeatures: number, outFeatures: number, bias = false): LinearSpec {
  return { name, inFeatures, outFeatures, bias };
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
