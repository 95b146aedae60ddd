// One block of attention: packing, the micro-kernel that both products are made of, and the softmax step between them. What the blocks
// are and in which order they go by is in attention.ts.

import { exp4 } from "./exp";
import { max_lane, sum_lanes } from "./lanes";

// Keys of a block.
export const KEYS: u32 = 64;
// Columns of a panel, and of the product the micro-kernel computes; and the rows of the latter.
export const PANEL: u32 = 8;
export const ROWS: u32 = 4;

// `multiple` is a power of two.
// @ts-ignore: decorator
@inline export function round_up(x: u32, multiple: u32): u32 {
  return (x + multiple - 1) & ~(multiple - 1);
}

// target ← factor·source.
export function scale_into(source: usize, count: u32, factor: f32, target: usize): void {
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    v128.store(target + (i << 2), f32x4.mul(v128.load(source + (i << 2)), f32x4.splat(factor)));
  }
  for (; i < count; i++) store<f32>(target + (i << 2), load<f32>(source + (i << 2)) * factor);
}

// Scaled rows side by side, zeros up to a whole number of ROWS.
export function pack_queries(q: usize, ldq: u32, count: u32, dim: u32, scale: f32, target: usize): void {
  for (let r: u32 = 0; r < count; r++) scale_into(q + (<usize>(r * ldq) << 2), dim, scale, target + (r * dim << 2));
  memory.fill(target + (count * dim << 2), 0, (round_up(count, ROWS) - count) * dim << 2);
}

// Panels of eight keys, transposed: target[p][d][i] ← k[8p + i][d], zeros past `count`.
export function pack_keys(k: usize, ldk: u32, count: u32, dim: u32, target: usize): void {
  for (let s: u32 = 0; s < round_up(count, PANEL); s++) {
    const from = k + (<usize>(s * ldk) << 2);
    let to = target + ((s & ~(PANEL - 1)) * dim + (s & (PANEL - 1)) << 2);
    for (let d: u32 = 0; d < dim; d++) {
      store<f32>(to, s < count ? load<f32>(from + (d << 2)) : 0);
      to += PANEL << 2;
    }
  }
}

// Panels of eight columns: target[p][s][i] ← v[s][8p + i], zeros past `dim`.
export function pack_values(v: usize, ldv: u32, count: u32, dim: u32, target: usize): void {
  for (let s: u32 = 0; s < count; s++) {
    const from = v + (<usize>(s * ldv) << 2);
    let d: u32 = 0;
    for (; d + PANEL <= dim; d += PANEL) {
      const to = target + (d * KEYS + s * PANEL << 2);
      v128.store(to, v128.load(from + (d << 2)));
      v128.store(to, v128.load(from + (d << 2), 16), 16);
    }
    const to = target + (d * KEYS + s * PANEL << 2);
    for (let i: u32 = 0; d < dim && i < PANEL; i++) {
      store<f32>(to + (i << 2), d + i < dim ? load<f32>(from + (d + i << 2)) : 0);
    }
  }
}

// C (4, 8) ← A (4, depth)·B (depth, 8), or with `accumulate` C += it. B is a panel, contiguous.
export function multiply(a: usize, lda: u32, b: usize, depth: u32, c: usize, ldc: u32, accumulate: bool): void {
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

// One row of one block. The scores at [from, to) gain slope·(s − t), s − t being `distance` at 0; then scores ← exp(score − maximum), 0 outside
// [from, to), and the row's running maximum, denominator and sum are brought to the new maximum.
export function soften(
  row: usize,
  count: u32,
  from: u32,
  to: u32,
  slope: f32,
  distance: f32,
  largest: usize,
  weight: usize,
  sum: usize,
  sumLength: u32,
): void {
  if (to <= from) {
    memory.fill(row, 0, round_up(count, 4) << 2);
    return;
  }
  let index = f32x4(0, 1, 2, 3);
  let largest4 = f32x4.splat(load<f32>(largest));
  for (let j: u32 = 0; j < count; j += 4) {
    const inside = v128.and(f32x4.ge(index, f32x4.splat(<f32>from)), f32x4.lt(index, f32x4.splat(<f32>to)));
    const score = f32x4.relaxed_madd(
      f32x4.splat(slope),
      f32x4.add(index, f32x4.splat(distance)),
      v128.load(row + (j << 2)),
    );
    const masked = v128.bitselect(score, f32x4.splat(-Infinity), inside);
    v128.store(row + (j << 2), masked);
    largest4 = f32x4.pmax(largest4, masked);
    index = f32x4.add(index, f32x4.splat(4));
  }
  const maximum = max_lane(largest4);
  let weight4 = f32x4.splat(0);
  for (let j: u32 = 0; j < count; j += 4) {
    const numerator = exp4(f32x4.sub(v128.load(row + (j << 2)), f32x4.splat(maximum)));
    v128.store(row + (j << 2), numerator);
    weight4 = f32x4.add(weight4, numerator);
  }
  const before = load<f32>(largest);
  store<f32>(largest, maximum);
  if (maximum == before) {
    store<f32>(weight, load<f32>(weight) + sum_lanes(weight4));
    return;
  }
  const rescale = f32x4.extract_lane(exp4(f32x4.splat(before - maximum)), 0);
  store<f32>(weight, load<f32>(weight) * rescale + sum_lanes(weight4));
  scale_into(sum, sumLength, rescale, sum);
}
