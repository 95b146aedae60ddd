// Reductions over the lanes of a vector. Summing is in the pairs (0, 2), (1, 3), everywhere alike.

// The largest lane.
// @ts-ignore: decorator
@inline export function max_lane(x: v128): f32 {
  const pairs = f32x4.max(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.max(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2)), 0);
}

// The sum of the lanes.
// @ts-ignore: decorator
@inline export function sum_lanes(x: v128): f32 {
  const pairs = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(pairs, v128.shuffle<f32>(pairs, pairs, 1, 0, 3, 2)), 0);
}

// The sum of four f32 lanes as two f64 ones: for sums too long for f32.
// @ts-ignore: decorator
@inline export function widen_sum(x: v128): v128 {
  return f64x2.add(f64x2.promote_low_f32x4(x), f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 0, 1)));
}

// @ts-ignore: decorator
@inline export function sum_lanes_f64(x: v128): f64 {
  return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}
