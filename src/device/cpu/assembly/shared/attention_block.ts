// The products of attention over one block of keys without a library. They pack queries, keys and values into panels, and
// multiply them with a micro-kernel. attention.ts, attention_statistics.ts and attention_backward.ts choose the blocks and
// their order.

import { transpose_4x4 } from "./lanes";
import { is_paired } from "./instance";
import { round_up } from "./items";
import { micro_cols } from "./micro_kernels";
import { scale_into } from "./row_operations";

// The number of keys in a block.
export const KEYS: u32 = 64;
// The number of rows of a product that the micro-kernel computes. The number of columns is micro_cols().
export const MICRO_ROWS: u32 = 4;

// Copies `count` query rows, times `scale`, without gaps, and appends rows of zeros up to a multiple of MICRO_ROWS.
export function pack_queries(q: usize, ldq: u32, count: u32, dim: u32, scale: f32, target: usize): void {
  for (let r: u32 = 0; r < count; r++) scale_into(q + (<usize>(r * ldq) << 2), dim, scale, target + (r * dim << 2));
  memory.fill(target + (count * dim << 2), 0, (round_up(count, MICRO_ROWS) - count) * dim << 2);
}

// Packs keys into panels of `width` keys, transposed: target[p][d][i] ← k[width·p + i][d], where p is a panel, d a
// dimension of the head, and i a key of the panel. Keys past `count` become zeros.
export function pack_keys(k: usize, ldk: u32, count: u32, dim: u32, width: u32, target: usize): void {
  const stride = <usize>ldk << 2, step = <usize>width << 2;
  for (let s: u32 = 0; s < round_up(count, width); s += 4) {
    const from = k + <usize>s * stride;
    const to = target + ((s & ~(width - 1)) * dim + (s & (width - 1)) << 2);
    let d: u32 = 0;
    if (s + 4 <= count) {
      for (; d + 4 <= dim; d += 4) transpose_4x4(from + (d << 2), stride, to + <usize>d * step, step);
    }
    for (; d < dim; d++) {
      for (let i: u32 = 0; i < 4; i++) {
        store<f32>(to + <usize>d * step + (i << 2), s + i < count ? load<f32>(from + <usize>i * stride + (d << 2)) : 0);
      }
    }
  }
}

// Packs values into panels of `width` columns: target[p][s][i] ← v[s][width·p + i], where p is a panel, s a key, and i
// a column of the panel. Columns past `dim` become zeros. `width` is 8 or 16.
export function pack_values(v: usize, ldv: u32, count: u32, dim: u32, width: u32, target: usize): void {
  for (let s: u32 = 0; s < count; s++) {
    const from = v + (<usize>(s * ldv) << 2);
    let d: u32 = 0;
    for (; d + width <= dim; d += width) {
      const to = target + (d * KEYS + s * width << 2);
      v128.store(to, v128.load(from + (d << 2)));
      v128.store(to, v128.load(from + (d << 2), 16), 16);
      if (width == 8) continue;
      v128.store(to, v128.load(from + (d << 2), 32), 32);
      v128.store(to, v128.load(from + (d << 2), 48), 48);
    }
    const to = target + (d * KEYS + s * width << 2);
    for (let i: u32 = 0; d < dim && i < width; i++) {
      store<f32>(to + (i << 2), d + i < dim ? load<f32>(from + (d + i << 2)) : 0);
    }
  }
}

// C ← A·B, or C ← C + A·B with `accumulate`. A is (4, depth), C is (4, micro_cols()), and B is one panel, (depth,
// micro_cols()) without gaps. Leading dimensions are in elements.
// @ts-ignore: decorator
@inline export function multiply(a: usize, lda: u32, b: usize, depth: u32, c: usize, ldc: u32, accumulate: bool): void {
  if (is_paired()) multiply_4x16(a, lda, b, depth, c, ldc, accumulate);
  else multiply_4x8(a, lda, b, depth, c, ldc, accumulate);
}

function multiply_4x8(a: usize, lda: u32, b: usize, depth: u32, c: usize, ldc: u32, accumulate: bool): void {
  const a1 = a + (lda << 2), a2 = a1 + (lda << 2), a3 = a2 + (lda << 2);
  const c1 = c + (ldc << 2), c2 = c1 + (ldc << 2), c3 = c2 + (ldc << 2);
  let c00 = f32x4.splat(0), c01 = c00, c10 = c00, c11 = c00, c20 = c00, c21 = c00, c30 = c00, c31 = c00;
  if (accumulate) {
    c00 = v128.load(c), c01 = v128.load(c, 16), c10 = v128.load(c1), c11 = v128.load(c1, 16);
    c20 = v128.load(c2), c21 = v128.load(c2, 16), c30 = v128.load(c3), c31 = v128.load(c3, 16);
  }
  for (let d: usize = 0, end: usize = depth << 2; d < end; d += 4) {
    const b0 = v128.load(b), b1 = v128.load(b, 16);
    b += 32;
    const x0 = v128.load32_splat(a + d);
    c00 = f32x4.relaxed_madd(x0, b0, c00), c01 = f32x4.relaxed_madd(x0, b1, c01);
    const x1 = v128.load32_splat(a1 + d);
    c10 = f32x4.relaxed_madd(x1, b0, c10), c11 = f32x4.relaxed_madd(x1, b1, c11);
    const x2 = v128.load32_splat(a2 + d);
    c20 = f32x4.relaxed_madd(x2, b0, c20), c21 = f32x4.relaxed_madd(x2, b1, c21);
    const x3 = v128.load32_splat(a3 + d);
    c30 = f32x4.relaxed_madd(x3, b0, c30), c31 = f32x4.relaxed_madd(x3, b1, c31);
  }
  v128.store(c, c00), v128.store(c, c01, 16), v128.store(c1, c10), v128.store(c1, c11, 16);
  v128.store(c2, c20), v128.store(c2, c21, 16), v128.store(c3, c30), v128.store(c3, c31, 16);
}

// The statements of one row are adjacent, so that the engine can pair their instructions.
function multiply_4x16(a: usize, lda: u32, b: usize, depth: u32, c: usize, ldc: u32, accumulate: bool): void {
  const a1 = a + (lda << 2), a2 = a1 + (lda << 2), a3 = a2 + (lda << 2);
  const c1 = c + (ldc << 2), c2 = c1 + (ldc << 2), c3 = c2 + (ldc << 2);
  let c00 = f32x4.splat(0), c01 = c00, c02 = c00, c03 = c00, c10 = c00, c11 = c00, c12 = c00, c13 = c00;
  let c20 = c00, c21 = c00, c22 = c00, c23 = c00, c30 = c00, c31 = c00, c32 = c00, c33 = c00;
  if (accumulate) {
    c00 = v128.load(c), c01 = v128.load(c, 16), c02 = v128.load(c, 32), c03 = v128.load(c, 48);
    c10 = v128.load(c1), c11 = v128.load(c1, 16), c12 = v128.load(c1, 32), c13 = v128.load(c1, 48);
    c20 = v128.load(c2), c21 = v128.load(c2, 16), c22 = v128.load(c2, 32), c23 = v128.load(c2, 48);
    c30 = v128.load(c3), c31 = v128.load(c3, 16), c32 = v128.load(c3, 32), c33 = v128.load(c3, 48);
  }
  for (let d: usize = 0, end: usize = depth << 2; d < end; d += 4) {
    const b0 = v128.load(b), b1 = v128.load(b, 16), b2 = v128.load(b, 32), b3 = v128.load(b, 48);
    b += 64;
    const x0 = v128.load32_splat(a + d);
    c00 = f32x4.relaxed_madd(x0, b0, c00), c01 = f32x4.relaxed_madd(x0, b1, c01), c02 = f32x4.relaxed_madd(x0, b2, c02), c03 = f32x4.relaxed_madd(x0, b3, c03);
    const x1 = v128.load32_splat(a1 + d);
    c10 = f32x4.relaxed_madd(x1, b0, c10), c11 = f32x4.relaxed_madd(x1, b1, c11), c12 = f32x4.relaxed_madd(x1, b2, c12), c13 = f32x4.relaxed_madd(x1, b3, c13);
    const x2 = v128.load32_splat(a2 + d);
    c20 = f32x4.relaxed_madd(x2, b0, c20), c21 = f32x4.relaxed_madd(x2, b1, c21), c22 = f32x4.relaxed_madd(x2, b2, c22), c23 = f32x4.relaxed_madd(x2, b3, c23);
    const x3 = v128.load32_splat(a3 + d);
    c30 = f32x4.relaxed_madd(x3, b0, c30), c31 = f32x4.relaxed_madd(x3, b1, c31), c32 = f32x4.relaxed_madd(x3, b2, c32), c33 = f32x4.relaxed_madd(x3, b3, c33);
  }
  v128.store(c, c00), v128.store(c, c01, 16), v128.store(c, c02, 32), v128.store(c, c03, 48);
  v128.store(c1, c10), v128.store(c1, c11, 16), v128.store(c1, c12, 32), v128.store(c1, c13, 48);
  v128.store(c2, c20), v128.store(c2, c21, 16), v128.store(c2, c22, 32), v128.store(c2, c23, 48);
  v128.store(c3, c30), v128.store(c3, c31, 16), v128.store(c3, c32, 32), v128.store(c3, c33, 48);
}

// Computes the products of MICRO_ROWS query rows, from row r on, and the keys from index `from` to `to` − 1 of a block. `query` and
// `keys` are as `pack_queries` and `pack_keys` make them, `scores` is (rows, KEYS), and `from` is a multiple of micro_cols().
// @ts-ignore: decorator
@inline export function multiply_strip(query: usize, dim: u32, keys: usize, r: u32, from: u32, to: u32, scores: usize): void {
  const panel = micro_cols();
  for (let p = from; p < to; p += panel) {
    multiply(query + (r * dim << 2), dim, keys + (p * dim << 2), dim, scores + (r * KEYS + p << 2), KEYS, false);
  }
}
