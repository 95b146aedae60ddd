// The gates of linear attention, and the lengths of its vectors.

import { exp4, log_f64, times_sigmoid4 } from "./exp";

// The number that is added to the squared length of a query or key.
const EPSILON: f32 = 1e-6;

// The results of load_gates, as in shaders/shared/linear_attention.wgsl.
export let decay: f32 = 0;
export let strength: f32 = 0;
export let rate: f32 = 0;
export let slope: f32 = 0;

// Computes the gates of a head and a row. `vectors` is the address of the vectors of the heads.
export function load_gates(
  gates: usize,
  vectors: usize,
  rows: u32,
  heads: u32,
  row: u32,
  head: u32,
  minStep: f32,
  maxStep: f32,
  isDelta: u32,
): void {
  const at = gates + (<usize>row * <usize>heads + <usize>head << 2);
  const a = load<f32>(at) + load<f32>(vectors + (<usize>(heads + head) << 2));
  const unlimited = softplus(a), step = min<f32>(max<f32>(unlimited, minStep), maxStep);
  rate = -exp_of(load<f32>(vectors + (<usize>head << 2)));
  decay = exp_of(rate * step);
  strength = isDelta ? sigmoid(load<f32>(at + (<usize>rows * <usize>heads << 2))) : step;
  slope = step == unlimited ? sigmoid(a) : 0;
}

function exp_of(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

function sigmoid(x: f32): f32 {
  return f32x4.extract_lane(times_sigmoid4(f32x4.splat(1), f32x4.splat(x)), 0);
}

// ln(1 + e^x), in a form in which exp does not overflow.
function softplus(x: f32): f32 {
  return max<f32>(x, 0) + <f32>log_f64(1 + <f64>exp_of(-abs<f32>(x)));
}

// Returns 1/√(‖x‖² + EPSILON).
export function inverse_length(x: usize, count: u32): f32 {
  let squares: f32 = 0;
  for (let i: usize = 0; i < <usize>count; i++) squares += load<f32>(x + (i << 2)) * load<f32>(x + (i << 2));
  return 1 / sqrt<f32>(squares + EPSILON);
}
