/** The parts that a block is made of, as a family declares them: linear layers and norms, with the names of their tensors. */

/** Linear layers that are fed the same input. */
export type LinearGroup = readonly [LinearSpec, ...LinearSpec[]];

/** y = x·Wᵀ + b. */
export interface LinearSpec {
  /** Its tensors are `NAME.weight` (outFeatures, inFeatures) and, with `bias`, `NAME.bias` (outFeatures). */
  readonly name: string;
  readonly outFeatures: number;
  readonly inFeatures: number;
  readonly bias: boolean;
}

/** LayerNorm or RMSNorm over the last axis. */
export interface NormSpec {
  readonly kind: "layer" | "rms";
  /** With `affine`, its tensors are `NAME.weight` and, of a LayerNorm, `NAME.bias`, (size). */
  readonly name: string;
  readonly size: number;
  readonly eps: number;
  readonly affine: boolean;
}
