// Computes the grids of four rows or groups at a time. src/tensor/quantization.ts has the formulas. `low` ≤ 0 and
// `high` ≥ 0 are the smallest and the largest of the weights and of 0, and `max_code` is the largest code. If
// `searched` is true, the grid is the start of a search (src/device/kernels/search_grids.ts).

// The smallest scale. Smaller numbers are not normal in f32, and a GPU may replace them by 0.
const MIN_SCALE: f32 = 1.1754943508222875e-38;
// Values of `scale_dtype`, as in DTYPE_CODE of src/device/kernels/transfer/convert.ts. Any other value means f32.
const SCALES_F16: u32 = 1, SCALES_BF16: u32 = 2;
// Added to a number of steps before it is rounded down. Candidates of a search often lie in the middle of two integers, and then every
// device must choose the larger one.
const TIE: f32 = 0.501;
// The candidates that are compared in each of the two stages of a search.
export const CANDIDATES: u32 = 16;

// Returns the scales of four grids before they are rounded. A scale is 0 if all weights are.
@inline export function exact_scale(low: v128, high: v128, max_code: f32, symmetric: bool, searched: bool): v128 {
  const magnitude = f32x4.abs(low), largest = f32x4.max(magnitude, high);
  let quotient: v128;
  if (symmetric && searched) {
    const signed = v128.bitselect(magnitude, f32x4.neg(high), f32x4.ge(magnitude, high));
    quotient = f32x4.div(signed, f32x4.splat((max_code + 1) / 2));
  } else {
    const range = symmetric ? f32x4.add(largest, largest) : f32x4.sub(high, low);
    quotient = f32x4.div(range, f32x4.splat(max_code));
  }
  return quotient;
}

// Returns the scales of four grids.
@inline export function grid_scale(low: v128, high: v128, max_code: f32, symmetric: bool, searched: bool, scale_dtype: u32): v128 {
  return round_scale(nonzero_scale(exact_scale(low, high, max_code, symmetric, searched)), scale_dtype);
}

// Replaces scales that are too small by 1.
@inline export function nonzero_scale(scale: v128): v128 {
  return v128.bitselect(f32x4.splat(1), scale, f32x4.lt(f32x4.abs(scale), f32x4.splat(MIN_SCALE)));
}

// Returns lower bounds of the factors with which the integers of the weights of four rows do not exceed the limit.
@inline export function least_factor(low: v128, high: v128, max_code: f32, symmetric: bool, searched: bool, limit: u32): v128 {
  const scale = f32x4.abs(exact_scale(low, high, max_code, symmetric, searched));
  const lowest = f32x4.div(f32x4.abs(low), f32x4.splat((max_code + 1) / 2));
  return f32x4.div(f32x4.max(scale, lowest), f32x4.splat(<f32>limit));
}

// Rounds the scales of grids with these zeros to integers times the factors. src/tensor/quantization.ts says which
// integers are allowed. `free` has all bits set in the lanes of the grids that need not contain 0.
export function round_to_multiple(scale: v128, zero: v128, factor: v128, limit: u32, max_code: f32, free: v128): v128 {
  const middle = (max_code + 1) / 2, one = f32x4.splat(1), code = i32x4.trunc_sat_f32x4_u(zero), largest = f32x4.splat(<f32>limit);
  const lowestBit = f32x4.convert_i32x4_u(v128.and(code, i32x4.neg(code)));
  const isFree = v128.or(free, f32x4.eq(zero, f32x4.splat(0)));
  const unit = v128.bitselect(one, f32x4.div(f32x4.splat(middle), lowestBit), isFree);
  const reach = f32x4.min(largest, f32x4.floor(f32x4.div(f32x4.splat(<f32>limit * middle), zero)));
  const most = v128.bitselect(largest, f32x4.floor(f32x4.div(reach, unit)), isFree);
  const steps = f32x4.floor(f32x4.add(f32x4.div(f32x4.abs(scale), f32x4.mul(factor, unit)), f32x4.splat(TIE)));
  const rounded = f32x4.mul(f32x4.mul(f32x4.min(f32x4.max(steps, one), most), unit), factor);
  return v128.or(rounded, v128.and(scale, i32x4.splat(0x80000000)));
}

// Rounds the zeros of the free grids to m·middle/n, where the scale is n times the factor, and m an integer up to the limit,
// so that the largest value of a grid is not below 0.
export function round_zero(zero: v128, scale: v128, factor: v128, limit: u32, max_code: f32, free: v128): v128 {
  const middle = f32x4.splat((max_code + 1) / 2), n = f32x4.nearest(f32x4.div(scale, factor));
  const steps = f32x4.floor(f32x4.add(f32x4.div(f32x4.mul(zero, n), middle), f32x4.splat(TIE)));
  const most = f32x4.min(f32x4.splat(<f32>limit), f32x4.floor(f32x4.div(f32x4.mul(f32x4.splat(max_code), n), middle)));
  const minimum = f32x4.min(steps, most);
  return v128.bitselect(f32x4.div(f32x4.mul(minimum, middle), n), zero, free);
}

// Returns by how much the values of grids lie below the multiples of their scales, which is an integer times the factor.
export function grid_offset(zero: v128, scale: v128, factor: v128): v128 {
  const n = f32x4.nearest(f32x4.div(scale, factor));
  return f32x4.mul(f32x4.nearest(f32x4.mul(f32x4.sub(zero, f32x4.floor(zero)), n)), factor);
}

// Returns the zero points of four grids, which are the codes of the weight 0. The formula of an asymmetric grid is
// round(−low/scale), which is not rounded in the lanes of `free`. The function uses |low| instead of −low, which would be
// −0 if `low` is 0.
@inline export function grid_zero(low: v128, scale: v128, max_code: f32, symmetric: bool, free: v128 = i32x4.splat(0)): v128 {
  if (symmetric) return f32x4.splat((max_code + 1) / 2);
  const quotient = f32x4.div(f32x4.abs(low), scale);
  return f32x4.min(v128.bitselect(quotient, f32x4.nearest(quotient), free), f32x4.splat(max_code));
}

// Rounds scales to the nearest numbers of the dtype. Ties go to an even last bit. The results have the signs of the
// scales and are neither 0 nor infinite.
export function round_scale(scale: v128, dtype: u32): v128 {
  if (dtype != SCALES_F16 && dtype != SCALES_BF16) return scale;
  const sign = v128.and(scale, i32x4.splat(0x80000000)), magnitude = f32x4.abs(scale), one = i32x4.splat(1);
  if (dtype == SCALES_BF16) {
    const last = v128.and(i32x4.shr_u(magnitude, 16), one);
    const rounded = i32x4.add(i32x4.add(magnitude, i32x4.splat(0x7fff)), last);
    return v128.or(v128.and(rounded, i32x4.splat(0xffff0000)), sign);
  }
  // Below 2^-14, the numbers of f16 are the multiples of 2^-24. The largest number is 65504.
  const last = v128.and(i32x4.shr_u(magnitude, 13), one);
  const normal = v128.and(i32x4.add(i32x4.add(magnitude, i32x4.splat(0xfff)), last), i32x4.splat(0xffffe000));
  const units = f32x4.nearest(f32x4.mul(magnitude, f32x4.splat(16777216)));
  const subnormal = f32x4.div(f32x4.max(units, f32x4.splat(1)), f32x4.splat(16777216));
  const rounded = v128.bitselect(subnormal, normal, f32x4.lt(magnitude, f32x4.splat(0.00006103515625)));
  return v128.or(f32x4.min(rounded, f32x4.splat(65504)), sign);
}

// Returns the scales of candidate n of a stage of the search that has arrived at the given scales.
// shaders/shared/quantization_grid.wgsl describes the candidates.
export function candidate_scale(start: v128, stage: u32, n: u32, symmetric: bool, scale_dtype: u32): v128 {
  if (n == 0) return start;
  let k: u32 = 10 + (n + 2) % CANDIDATES, factor: f32 = 12 / <f32>k;
  if (stage == 1 && symmetric) {
    k = (n + 8) % CANDIDATES;
    factor = 1 + (<f32>k - 8) / 128;
  } else if (stage == 1) {
    k = (n + 7) % CANDIDATES % 5;
    factor = 1 + (<f32>k - 2) / 40;
  }
  const scale = round_scale(f32x4.mul(start, f32x4.splat(factor)), scale_dtype);
  return v128.bitselect(start, scale, f32x4.lt(f32x4.abs(scale), f32x4.splat(MIN_SCALE)));
}

// Returns the zeros of candidate n. The zeros of free grids move by a quarter as much.
@inline export function candidate_zero(
  start: v128, stage: u32, n: u32, max_code: f32, symmetric: bool, free: v128 = i32x4.splat(0),
): v128 {
  if (stage == 0 || symmetric) return start;
  const k: u32 = (n + 7) % CANDIDATES / 5, codes = <f32>k - 1;
  const shift = v128.bitselect(f32x4.splat(codes / 4), f32x4.splat(codes), free);
  return f32x4.min(f32x4.max(f32x4.add(start, shift), f32x4.splat(0)), f32x4.splat(max_code));
}

// Adds the squares of the errors of four rounded weights times the squares of their importance to `sum`. `inverse` is
// 1/scale. A weight is rounded to a multiple of the scale from `lowest` to `highest` times the scale.
@inline export function add_grid_error(
  sum: v128, scale: v128, inverse: v128, lowest: v128, highest: v128, weight: v128, importance: v128,
): v128 {
  const steps = f32x4.pmax(f32x4.pmin(f32x4.nearest(f32x4.mul(weight, inverse)), highest), lowest);
  const error = f32x4.mul(f32x4.relaxed_nmadd(steps, scale, weight), importance);
  return f32x4.relaxed_madd(error, error, sum);
}
