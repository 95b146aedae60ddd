// The parts of attention that attention.ts, attention_statistics.ts and attention_backward.ts share. The first half of this
// file multiplies queries, keys and values by a micro-kernel, if no library does.
//
// The second half is the online softmax (Milakov & Gimelshein, arXiv 1805.02867), which reads the keys of a query row block
// by block. The products q·k of a strip, which is some query rows and some keys of a block, become the numerators p of the
// softmax in two passes over each row: one for the maximum, and one for everything else.
//
// The memory `softmax` has STATE_BYTES for each query row: eight lanes, whose sum is the denominator Σ p of the keys so
// far, and then the largest score so far, which is subtracted before the exponential. If a score is only the scaled product,
// the products are compared unscaled, and the exponential scales their differences.

import { cap4, exp4 } from "./exp";
import { is_paired } from "./instance";
import { round_up } from "./items";
import { max_lane, sum_lanes } from "./lanes";
import { micro_cols } from "./micro_kernels";
import { scale_into } from "./row_operations";

// The number of keys in a block.
export const KEYS: u32 = 128;
// The number of rows of a product that the micro-kernel computes. The number of columns is micro_cols().
export const MICRO_ROWS: u32 = 4;

// Copies `count` query rows, times `scale`, without gaps, and appends rows of zeros up to a multiple of MICRO_ROWS.
export function pack_queries(q: usize, ldq: u32, count: u32, dim: u32, scale: f32, target: usize): void {
  for (let r: u32 = 0; r < count; r++) scale_into(q + (<usize>(r * ldq) << 2), dim, scale, target + (r * dim << 2));
  memory.fill(target + (count * dim << 2), 0, (round_up(count, MICRO_ROWS) - count) * dim << 2);
}

// C ← A·B, or C ← C + A·B with `accumulate`. A is (4, depth), C is (4, micro_cols()), and B is one panel, (depth,
// micro_cols()) without gaps. Leading dimensions are in elements.
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
// `keys` are as `pack_queries` and `pack_panels_transposed` make them, `scores` is (rows, KEYS), and `from` is a multiple of micro_cols().
@inline export function multiply_strip(query: usize, dim: u32, keys: usize, r: u32, from: u32, to: u32, scores: usize): void {
  const panel = micro_cols();
  for (let p = from; p < to; p += panel) {
    multiply(query + (r * dim << 2), dim, keys + (p * dim << 2), dim, scores + (r * KEYS + p << 2), KEYS, false);
  }
}

export const STATE_BYTES: u32 = 64;
const MAXIMUM: usize = 32;

const LOG2_E: f32 = 1.44269504;

// The coefficients of a polynomial for 2^r with |r| ≤ ½, with a relative error of 7.5e-8. These numbers and the next are
// variables, because V8 would build a constant vector again in every pass of a loop.
let c0: f32 = 0, c1: f32 = 0, c2: f32 = 0, c3: f32 = 0, c4: f32 = 0, c5: f32 = 0;
// Below this exponent, 2^x becomes 0.
let lowest: f32 = 0;
// Adding this number to x rounds x to an integer n. The low bits of the sum are then n + 127, the exponent field of 2^n.
let rounding: f32 = 0;
// Half of the last bit that remains when an f32 number becomes bf16.
let half: u32 = 0;

// The index of the first key that query t sees. If `window` > 0, a query sees only the last `window` keys, or the keys of
// its chunk of `window` tokens if `chunked` is 1.
@inline export function first_key(t: u32, window: u32, chunked: u32): u32 {
  if (window == 0 || t < window) return 0;
  return chunked == 1 ? t - t % window : t + 1 - window;
}

// Whether the scores are more than products times a positive scale. They are then computed and stored before the maximum.
@inline function stores_scores<A>(args: A, slope: f32): bool {
  return args.soft_cap > 0 || slope != 0 || !(args.scale > 0);
}

// The factor between the stored numbers, which are products or scores, and the scores.
@inline function stored_scale<A>(args: A, slope: f32): f32 {
  return stores_scores(args, slope) ? 1 : args.scale;
}

// Starts the softmax of `rows` query rows of a head. The only score so far is the sink of the head, or there is none. Must be
// called in every item before `update_softmax`.
export function start_softmax<A>(args: A, head: u32, slope: f32, softmax: usize, rows: u32): void {
  c0 = 1.00000012, c1 = 0.693146944, c2 = 0.240221202, c3 = 0.0555071309, c4 = 0.00967554096, c5 = 0.00132764725;
  lowest = -127, rounding = 12582912 + 127, half = 0x8000;
  const hasSink = args.has_sinks == 1;
  const maximum: f32 = hasSink ? load<f32>(args.sinks + (<usize>head << 2)) / stored_scale(args, slope) : -Infinity;
  memory.fill(softmax, 0, rows * STATE_BYTES);
  for (let r: u32 = 0; r < rows; r++, softmax += STATE_BYTES) {
    if (hasSink) store<f32>(softmax, 1);
    store<f32>(softmax, maximum, MAXIMUM);
  }
}

// The denominator of one row.
@inline export function denominator(softmax: usize): f32 {
  return sum_lanes(f32x4.add(v128.load(softmax), v128.load(softmax, 16)));
}

// The largest score of one row.
@inline export function largest_score<A>(args: A, slope: f32, softmax: usize): f32 {
  return load<f32>(softmax, MAXIMUM) * stored_scale(args, slope);
}

// Turns the products q·k of a strip into the numerators p = exp(score − maximum) of the softmax, where
//
//   score = soft_cap(scale·q·k) + slope·(s − t), and −∞ if query t does not see key s.
//
// The strip has `rows` query rows from token t on, and `count` keys from token s on. `scores` is (rows, ld), and so are
// `numerators`, in f32, or in bf16 with `rounded`. Both may be the same memory if `rounded` is false. Up to seven numbers after
// the `count` ones of a row are overwritten too. `sums` is (rows, ldSums): if a maximum grows, Σ p·v of the row, which are
// `sumLength` numbers, and the denominator are rescaled to the new maximum.
export function update_softmax<A>(
  args: A, slope: f32, rounded: bool, t: u32, rows: u32, s: u32, count: u32, scores: usize, numerators: usize, ld: u32, softmax: usize,
  sums: usize, ldSums: u32,
): void {
  const scale = stored_scale(args, slope), size: usize = rounded ? 1 : 2, width = round_up(count, 8);
  for (const end = t + rows; t < end; t++) {
    const low = first_key(t, args.window, args.chunked);
    const from: u32 = low > s ? low - s : 0, to: u32 = t < s ? 0 : min<u32>(count, t + 1 - s);
    let first: u32 = 0, last: u32 = 0;
    if (from < to) {
      first = from & ~7, last = round_up(to, 8);
      if (stores_scores(args, slope)) compute_scores(scores, to, args.scale, args.soft_cap, slope, <f32>(<i32>s - <i32>t));
      for (let j = first; j < from; j++) store<f32>(scores + (j << 2), -Infinity);
      for (let j = to; j < last; j++) store<f32>(scores + (j << 2), -Infinity);
      const row = scores + (first << 2), target = numerators + (first << size);
      raise_maximum(row, last - first, scale, softmax, sums, ldSums);
      if (rounded) write_rounded_numerators(row, last - first, scale, softmax, target);
      else write_numerators(row, last - first, scale, softmax, target);
    }
    if (first > 0) memory.fill(numerators, 0, first << size);
    if (last < width) memory.fill(numerators + (last << size), 0, width - last << size);
    scores += ld << 2, numerators += ld << size, softmax += STATE_BYTES, sums += ldSums << 2;
  }
}

// row ← cap(scale·row) + slope·(distance + index) for `count` scores. Up to seven scores after them change too.
function compute_scores(row: usize, count: u32, scale: f32, cap: f32, slope: f32, distance: f32): void {
  const scales = f32x4.splat(scale), caps = f32x4.splat(cap), slopes = f32x4.splat(slope);
  let distances = f32x4.add(f32x4(0, 1, 2, 3), f32x4.splat(distance));
  for (const end = row + (count << 2); row < end; row += 32) {
    let low = f32x4.mul(v128.load(row), scales), high = f32x4.mul(v128.load(row, 16), scales);
    if (cap > 0) low = cap4(low, caps), high = cap4(high, caps);
    v128.store(row, f32x4.relaxed_madd(slopes, distances, low));
    v128.store(row, f32x4.relaxed_madd(slopes, f32x4.add(distances, f32x4.splat(4)), high), 16);
    distances = f32x4.add(distances, f32x4.splat(8));
  }
}

// Raises the maximum of a row to the largest of `count` scores, and rescales the row's denominator and sums.
function raise_maximum(row: usize, count: u32, scale: f32, softmax: usize, sums: usize, sumLength: u32): void {
  const before = load<f32>(softmax, MAXIMUM);
  let maximum0 = f32x4.splat(before), maximum1 = maximum0;
  for (const end = row + (count << 2); row < end; row += 32) {
    maximum0 = f32x4.pmax(maximum0, v128.load(row)), maximum1 = f32x4.pmax(maximum1, v128.load(row, 16));
  }
  const after = max_lane(f32x4.pmax(maximum0, maximum1));
  if (after == before) return;
  store<f32>(softmax, after, MAXIMUM);
  if (before == -Infinity) return; // denominator and sums are zero
  const rescale = f32x4.extract_lane(exp4(f32x4.splat((before - after) * scale)), 0);
  scale_into(softmax, 8, rescale, softmax);
  scale_into(sums, sumLength, rescale, sums);
}

function write_numerators(row: usize, count: u32, scale: f32, softmax: usize, target: usize): void {
  write_exponentials(false, row, count, scale, softmax, target);
}

function write_rounded_numerators(row: usize, count: u32, scale: f32, softmax: usize, target: usize): void {
  write_exponentials(true, row, count, scale, softmax, target);
}

// target ← exp(scale·(row − maximum)) for `count` scores, a multiple of 8, and adds the results to the denominator. With
// `rounded`, target is rounded to bf16, and ties up, because no result is negative. The engine pairs the instructions, because
// the lanes of the denominator are loaded and stored in pairs.
@inline function write_exponentials(rounded: bool, row: usize, count: u32, scale: f32, softmax: usize, target: usize): void {
  const factor = f32x4.splat(scale * LOG2_E), maximum = v128.load32_splat(softmax, MAXIMUM);
  const k0 = f32x4.splat(c0), k1 = f32x4.splat(c1), k2 = f32x4.splat(c2), k3 = f32x4.splat(c3), k4 = f32x4.splat(c4), k5 = f32x4.splat(c5);
  const low = f32x4.splat(lowest), toInteger = f32x4.splat(rounding), halves = i32x4.splat(half);
  let sum0 = v128.load(softmax), sum1 = v128.load(softmax, 16);
  for (const end = row + (count << 2); row < end; row += 32) {
    const x0 = f32x4.mul(f32x4.sub(v128.load(row), maximum), factor), x1 = f32x4.mul(f32x4.sub(v128.load(row, 16), maximum), factor);
    const p0 = power_of_two(x0, low, toInteger, k0, k1, k2, k3, k4, k5);
    const p1 = power_of_two(x1, low, toInteger, k0, k1, k2, k3, k4, k5);
    sum0 = f32x4.add(sum0, p0), sum1 = f32x4.add(sum1, p1);
    if (rounded) {
      const upper0 = i32x4.shr_u(i32x4.add(p0, halves), 16), upper1 = i32x4.shr_u(i32x4.add(p1, halves), 16);
      v128.store(target, i16x8.narrow_i32x4_u(upper0, upper1));
      target += 16;
    } else {
      v128.store(target, p0), v128.store(target, p1, 16);
      target += 32;
    }
  }
  v128.store(softmax, sum0), v128.store(softmax, sum1, 16);
}

// Returns 2^x for x ≤ 0 with a relative error of 2.2e-7, 0 if x is less than −126.5, and NaN for NaN.
@inline function power_of_two(
  x: v128, low: v128, toInteger: v128, k0: v128, k1: v128, k2: v128, k3: v128, k4: v128, k5: v128,
): v128 {
  const clamped = f32x4.pmax(x, low); // this order of operands preserves NaN
  const rounded = f32x4.add(clamped, toInteger);
  const r = f32x4.sub(clamped, f32x4.sub(rounded, toInteger));
  let p = f32x4.relaxed_madd(r, k5, k4);
  p = f32x4.relaxed_madd(p, r, k3);
  p = f32x4.relaxed_madd(p, r, k2);
  p = f32x4.relaxed_madd(p, r, k1);
  p = f32x4.relaxed_madd(p, r, k0);
  return f32x4.mul(p, i32x4.shl(rounded, 23));
}
