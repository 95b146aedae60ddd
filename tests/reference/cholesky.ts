/**
 * The Cholesky factorization and the inverse computed from it, in naive float64 on row-major square matrices (Golub & Van Loan, Matrix
 * Computations, §4.2). It shares no code with `src`.
 */

/**
 * Factors A, (n, n), as A = L·Lᵀ with L lower triangular. Only the lower triangle of A is read.
 * @throws {Error} if a pivot is not positive
 */
export function choleskyLower(a: Float64Array, n: number): Float64Array {
  const l = new Float64Array(n * n);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j <= i; j++) {
      let sum = a[i * n + j];
      for (let k = 0; k < j; k++) sum -= l[i * n + k] * l[j * n + k];
      if (i === j && !(sum > 0)) throw new Error(`pivot ${i} is ${sum}`);
      l[i * n + j] = i === j ? Math.sqrt(sum) : sum / l[j * n + j];
    }
  }
  return l;
}

/** Returns A⁻¹ = L⁻ᵀ·L⁻¹, (n, n), from the lower Cholesky factor L of A. */
export function choleskyInverse(l: Float64Array, n: number): Float64Array {
  // Row c of `columns` is column c of L⁻¹, so that every inner loop runs along a row.
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

/** Returns the transpose of an (n, n) matrix. */
export function transpose(a: Float64Array, n: number): Float64Array {
  const t = new Float64Array(n * n);
  for (let i = 0; i < n; i++) for (let j = 0; j < n; j++) t[j * n + i] = a[i * n + j];
  return t;
}
