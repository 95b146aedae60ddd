/**
 * The Cholesky factorization and the inverse that follows from it, in naive float64 on row-major square
 * matrices (Golub & Van Loan, Matrix Computations, section 4.2). This file shares no code with `src`.
 */

/**
 * The lower triangular factor L with A = L·Lᵀ, (n, n). Only the lower triangle of `a` is read.
 *
 * @throws {Error} if a pivot is not positive, which means that A is not positive definite
 */
export function choleskyLower(a: Float64Array, n: number): Float64Array {
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= l[i * n + k] * l[j * n + k];
      if (i === j && !(sum > 0)) throw new Error(`the matrix is not positive definite: pivot ${i} is ${sum}`);
      l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j];
    }
  }
  return l;
}

/** The inverse A⁻¹ = L⁻ᵀ·L⁻¹, (n, n), computed from the factor L. */
export function choleskyInverse(l: Float64Array, n: number): Float64Array {
  // Row c of `columns` holds column c of L⁻¹, so that the inner loops run along rows.
  const columns = new Float64Array(n * n);
  for (let c = 0; c < n; c++) {
    columns[c * n + c] = 1 / l[c * n + c];
    for (let i = c + 1; i < n; i++) {
      let sum = 0;
      for (let k = c; k < i; k++) sum += l[i * n + k] * columns[c * n + k];
      columns[c * n + i] = -sum / l[i * n + i];
    }
  }
  const inverse = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = 0;
      for (let k = i; k < n; k++) sum += columns[i * n + k] * columns[j * n + k];
      inverse[i * n + j] = inverse[j * n + i] = sum;
    }
  }
  return inverse;
}

/** The transpose of an (n, n) matrix. */
export function transpose(a: Float64Array, n: number): Float64Array {
  const t = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) t[j * n + i] = a[i * n + j];
  return t;
}
