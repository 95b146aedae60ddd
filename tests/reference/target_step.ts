/**
 * The step of a layer's weights towards a target in naive float64, and the error against the target. With the statistics H = Σ x·xᵀ and the
 * target T = Σ y·xᵀ, the step is W' = W + α·(T − W·H)·(H + λ·mean(diag H)·I)⁻¹. This file shares no code with `src`.
 */

import { choleskyInverse, choleskyLower } from "./cholesky.ts";
import { dampedHessian, quadraticForm } from "./hessian.ts";

export interface TargetLayer {
  readonly rows: number;
  readonly cols: number;
  readonly weight: ArrayLike<number>;
  readonly hessian: ArrayLike<number>;
  readonly target: ArrayLike<number>;
}

/** The product of A (rows, n) and B (n, n). */
function product(a: ArrayLike<number>, b: ArrayLike<number>, rows: number, n: number): Float64Array {
  const c = new Float64Array(rows * n);
  for (let r = 0; r < rows; r++) {
    for (let k = 0; k < n; k++) {
      for (let j = 0; j < n; j++) c[r * n + j] += a[r * n + k] * b[k * n + j];
    }
  }
  return c;
}

/** G = T − W·H, with zeros in the columns of dead inputs. */
export function referenceGradient({ rows, cols, weight, hessian, target }: TargetLayer): Float64Array {
  return product(weight, hessian, rows, cols).map((value, i) => {
    const j = i % cols;
    return hessian[j * cols + j] === 0 ? 0 : target[i] - value;
  });
}

/** The weights W' after a step of size `alpha`. */
export function referenceStep(layer: TargetLayer, alpha: number, damping: number): Float64Array {
  const { rows, cols, weight, hessian } = layer;
  const inverse = choleskyInverse(choleskyLower(dampedHessian(hessian, cols, damping), cols), cols);
  const step = product(referenceGradient(layer), inverse, rows, cols);
  return step.map((value, i) => weight[i] + alpha * value);
}

/** (f(Q) − f(W)) / tr(W·H·Wᵀ), where f(M) = tr(M·H·Mᵀ) − 2·tr(M·Tᵀ), and the columns of T for dead inputs count as 0. */
export function referenceChange(layer: TargetLayer, q: ArrayLike<number>): number {
  const { rows, cols, weight, hessian, target } = layer;
  const error = (m: ArrayLike<number>) => {
    let inner = 0;
    for (let i = 0; i < rows * cols; i++) {
      const j = i % cols;
      if (hessian[j * cols + j] !== 0) inner += m[i] * target[i];
    }
    return quadraticForm(m, hessian, rows, cols) - 2 * inner;
  };
  return (error(q) - error(weight)) / quadraticForm(weight, hessian, rows, cols);
}
