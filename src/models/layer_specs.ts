/** The linear layers and norms of a model, with the names of their tensors. */

/** Linear layers with the same input. */
export type LinearGroup = readonly [LinearSpec, ...LinearSpec[]];

/** A linear layer, y = x·Wᵀ + b. */
export interface LinearSpec {
  /** The name of the layer. Its tensors are `NAME.weight` (outFeatures, inFeatures) and, with `bias`, `NAME.bias` (outFeatures). */
  readonly name: string;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly bias: boolean;
}

/** A LayerNorm or RMSNorm over the last axis. */
export interface NormSpec {
  readonly kind: "layer" | "rms";
  /** The name of the norm. With `affine`, its tensors are `NAME.weight` (size) and, for a LayerNorm, `NAME.bias` (size). */
  readonly name: string;
  readonly size: number;
  readonly eps: number;
  readonly affine: boolean;
}
