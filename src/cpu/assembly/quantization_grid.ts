// The grid to which weights are rounded, for four rows or groups at a time. src/quantization/quantization.ts
// explains it. `low` ≤ 0 and `high` ≥ 0 are the extremes of the weights, and `max_code` is the largest code.

// The smallest scale. Smaller numbers are not normal in f32, and a GPU may replace them by 0.
const MIN_SCALE: f32 = 1.1754943508222875e-38;

// The scales of the grids.
// @ts-ignore: decorator
@inline export function grid_scale(low: v128, high: v128, max_code: f32, symmetric: bool): v128 {
  const largest = f32x4.max(f32x4.abs(low), high);
  const range = symmetric ? f32x4.add(largest, largest) : f32x4.sub(high, low);
  const quotient = f32x4.div(range, f32x4.splat(max_code));
  return v128.bitselect(f32x4.splat(1), quotient, f32x4.lt(quotient, f32x4.splat(MIN_SCALE)));
}

// The zeros of the grids, which are the codes of the weight 0. They are round(−low/scale), and
// the absolute value is used because it is never −0.
// @ts-ignore: decorator
@inline export function grid_zero(low: v128, scale: v128, max_code: f32, symmetric: bool): v128 {
  return symmetric ? f32x4.splat((max_code + 1) / 2) : f32x4.nearest(f32x4.div(f32x4.abs(low), scale));
}
