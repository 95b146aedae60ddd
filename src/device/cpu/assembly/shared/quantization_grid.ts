// Computes grids, for four rows or groups at a time. A grid is the set of values that weights are rounded to.
// src/tensor/quantization.ts has the formulas. `low` ≤ 0 and `high` ≥ 0 are the smallest and the largest of the weights and of
// 0, and `max_code` is the largest code.

// The smallest scale. Smaller numbers are not normal in f32, and a GPU may replace them by 0.
const MIN_SCALE: f32 = 1.1754943508222875e-38;

// Returns the scales of four grids.
// @ts-ignore: decorator
@inline export function grid_scale(low: v128, high: v128, max_code: f32, symmetric: bool): v128 {
  const largest = f32x4.max(f32x4.abs(low), high);
  const range = symmetric ? f32x4.add(largest, largest) : f32x4.sub(high, low);
  const quotient = f32x4.div(range, f32x4.splat(max_code));
  return v128.bitselect(f32x4.splat(1), quotient, f32x4.lt(quotient, f32x4.splat(MIN_SCALE)));
}

// Returns the zero points of four grids, which are the codes of the weight 0. The formula of an asymmetric grid is
// round(−low/scale). The function uses |low| instead of −low, which would be −0 if `low` is 0.
// @ts-ignore: decorator
@inline export function grid_zero(low: v128, scale: v128, max_code: f32, symmetric: bool): v128 {
  return symmetric ? f32x4.splat((max_code + 1) / 2) : f32x4.nearest(f32x4.div(f32x4.abs(low), scale));
}
