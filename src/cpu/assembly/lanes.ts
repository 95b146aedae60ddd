// Reductions over the lanes (elements) of a vector. Every sum of four lanes adds lanes 0 and 2, adds lanes 1
// and 3, and then adds the two results. All kernels use this order, so that they round alike.

// The largest lane.
// @ts-ignore: decorator
@inline export function max_lane(x: v128): f32 {
  const maxima = f32x4.max(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.max(maxima, v128.shuffle<f32>(maxima, maxima, 1, 0, 3, 2)), 0);
}

// The sum of the four f32 lanes.
// @ts-ignore: decorator
@inline export function sum_lanes(x: v128): f32 {
  const sums = f32x4.add(x, v128.shuffle<f32>(x, x, 2, 3, 0, 1));
  return f32x4.extract_lane(f32x4.add(sums, v128.shuffle<f32>(sums, sums, 1, 0, 3, 2)), 0);
}

// Two f64 lanes that add up to the four f32 lanes of x, for sums that are too long for f32.
// @ts-ignore: decorator
@inline export function fold_to_f64(x: v128): v128 {
  return f64x2.add(f64x2.promote_low_f32x4(x), f64x2.promote_low_f32x4(v128.shuffle<f32>(x, x, 2, 3, 0, 1)));
}

// The sum of the two f64 lanes.
// @ts-ignore: decorator
@inline export function sum_lanes_f64(x: v128): f64 {
  return f64x2.extract_lane(x, 0) + f64x2.extract_lane(x, 1);
}
