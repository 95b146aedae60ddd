/** The target of a layer in naive float64: T = Σ y·x_pᵀ with y = W·x_d + e, where e is the error of the residual stream. */

export interface TargetInputs {
  /** The number of tokens. */
  readonly rows: number;
  readonly inFeatures: number;
  readonly outFeatures: number;
  /** (outFeatures, inFeatures). */
  readonly weight: ArrayLike<number>;
  /** The inputs of the layer in the dense model and in the pruned model, (rows, inFeatures). */
  readonly xd: ArrayLike<number>;
  readonly xp: ArrayLike<number>;
  /** e, (rows, outFeatures). @default zeros */
  readonly residual?: ArrayLike<number>;
  /** Whether each token has the weight inFeatures/‖x_p‖² instead of 1. */
  readonly isWeighted?: boolean;
}

/** T, (outFeatures, inFeatures). */
export function referenceTarget(
  { rows, inFeatures, outFeatures, weight, xd, xp, residual, isWeighted = false }: TargetInputs,
): Float64Array {
  const target = new Float64Array(outFeatures * inFeatures);
  for (let t = 0; t < rows; t++) {
    let square = 0;
    for (let i = 0; i < inFeatures; i++) square += xp[t * inFeatures + i] ** 2;
    const tokenWeight = isWeighted ? inFeatures / square : 1;
    for (let o = 0; o < outFeatures; o++) {
      let y = residual?.[t * outFeatures + o] ?? 0;
      for (let i = 0; i < inFeatures; i++) y += weight[o * inFeatures + i] * xd[t * inFeatures + i];
      for (let i = 0; i < inFeatures; i++) {
        target[o * inFeatures + i] += tokenWeight * y * xp[t * inFeatures + i];
      }
    }
  }
  return target;
}
