/** References of the kernels of linear algebra. */

import { referenceGemm } from "../../../tests/reference/gemm.ts";
import { referenceReverseCholesky } from "../../../tests/reference/reverse_cholesky.ts";
import { bitOf, eachElement, packed, type Reference } from "./reference.ts";

/** Returns the reference of the matrix product with these stored transposes. */
function product(transposedA: boolean, transposedB: boolean): Reference {
  return ({ a, b, c }, p) => {
    const { product } = referenceGemm(
      [p.m, p.n, p.k],
      { values: a, offset: p.a_offset, ld: p.lda, transposed: transposedA },
      { values: b, offset: p.b_offset, ld: p.ldb, transposed: transposedB },
      { values: c, offset: p.c_offset, ld: p.ldc },
      p.alpha,
      p.beta,
    );
    eachElement(p.m, p.n, (i, j) => c[p.c_offset + i * p.ldc + j] = product[i * p.n + j]);
  };
}

/** Returns the inverse of R, (n, n) upper triangular, by back substitution. */
function invertUpper(r: Float64Array, n: number): Float64Array {
  const u = new Float64Array(n * n);
  for (let j = 0; j < n; j++) {
    for (let i = j; i >= 0; i--) {
      let sum = i === j ? 1 : 0;
      for (let k = i + 1; k <= j; k++) sum -= r[i * n + k] * u[k * n + j];
      u[i * n + j] = sum / r[i * n + i];
    }
  }
  return u;
}

/** The quotient of two sums of row r of a tile, or 0 if the denominator is not positive. */
function quotient(sums: ArrayLike<number>, p: Readonly<Record<string, number>>, r: number): number {
  const at = (p.row0 + r) * p.stride, denominator = sums[at + p.denominator];
  return denominator > 0 ? sums[at + p.numerator] / denominator : 0;
}

export const MATRIX_REFERENCES: Readonly<Record<string, Reference>> = {
  gemm_nn: product(false, false),
  gemm_nt: product(false, true),
  gemm_tn: product(true, false),
  product_nt: product(false, true),
  product_tn: product(true, false),
  reverse_cholesky({ h, r, u, diagonal, status }, p) {
    if (status[0] !== 0) return;
    const { r: factor, failed } = referenceReverseCholesky(packed(h, p.size, p.size, p.offset, p.ld), p.size);
    if (failed !== undefined) {
      status[0] = p.first + failed + 1;
      return;
    }
    const inverse = invertUpper(factor, p.size);
    eachElement(p.size, p.size, (i, j) => {
      r[p.r_offset + i * p.ldr + j] = factor[i * p.size + j];
      u[p.u_offset + i * p.ldu + j] = inverse[i * p.size + j];
      if (i === j) diagonal[p.first + j] = factor[i * p.size + j];
    });
  },
  get_diagonal({ tile, diagonal }, p) {
    for (let i = 0; i < p.count; i++) diagonal[p.first + i] = tile[(p.row + i) * p.ld + p.col + i];
  },
  set_diagonal({ tile, diagonal }, p) {
    for (let i = 0; i < p.count; i++) tile[i * p.ld + i] = diagonal[p.first + i];
  },
  mirror_upper: ({ tile }, p) =>
    eachElement(p.size, p.size, (i, j) => {
      if (i < j) tile[j * p.ld + i] = tile[i * p.ld + j];
    }),
  zero_columns: ({ dead, w }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      if (dead[p.first + c]) w[r * p.ld + c] = 0;
    }),
  row_dot: ({ x, y, sums }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      sums[p.sums_offset + r * p.sums_stride] += p.scale * x[p.x_offset + r * p.ldx + c] *
        y[p.y_offset + r * p.ldy + c];
    }),
  column_squares: ({ x, sums }, p) =>
    eachElement(p.rows, p.cols, (r, c) => sums[c] += x[p.x_offset + r * p.ldx + c] ** 2),
  masked_combine: ({ x, mask, y }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const i = r * p.ld + c, isKept = bitOf(mask, p.words, p.row0 + r, p.first + c) === 1;
      y[i] = isKept ? p.kept_x * x[i] + p.kept_y * y[i] : p.pruned_x * x[i] + p.pruned_y * y[i];
    }),
  scale_tile: ({ left, right, x }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      x[r * p.ld + c] *= (p.has_left ? left[p.row0 + r] : 1) * right[p.first + c];
    }),
  cg_step: ({ p: direction, ap, mask, sums, q, r: residual }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const i = r * p.ld + c, a = quotient(sums, p, r);
      q[i] += a * direction[i];
      residual[i] = bitOf(mask, p.words, p.row0 + r, p.first + c) ? residual[i] - a * ap[i] : 0;
    }),
  cg_direction: ({ r: residual, sums, p: direction }, p) =>
    eachElement(p.rows, p.cols, (r, c) => {
      const i = r * p.ld + c;
      direction[i] = residual[i] + quotient(sums, p, r) * direction[i];
    }),
};
