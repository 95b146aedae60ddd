// The activation functions of the four lanes of a vector.

import { exp4, times_sigmoid4 } from "./exp";

// The values of the argument `activation`. They must equal ACTIVATION_CODE in src/device/kernels/forward/activate.ts.
export const RELU: u32 = 1;
export const GELU_TANH: u32 = 2;
export const GELU: u32 = 3;
export const SILU: u32 = 4;
export const SIGMOID: u32 = 5;
export const RELU2: u32 = 6;

// Returns erfc(z) = 1 − erf(z) for z ≥ 0. Formula 7.1.26 of Abramowitz & Stegun has an absolute error of 1.5e-7.
@inline export function erfc4(z: v128): v128 {
  const t = f32x4.div(f32x4.splat(1), f32x4.relaxed_madd(z, f32x4.splat(0.3275911), f32x4.splat(1)));
  let p = f32x4.relaxed_madd(t, f32x4.splat(1.061405429), f32x4.splat(-1.453152027));
  p = f32x4.relaxed_madd(p, t, f32x4.splat(1.421413741));
  p = f32x4.relaxed_madd(p, t, f32x4.splat(-0.284496736));
  p = f32x4.relaxed_madd(p, t, f32x4.splat(0.254829592));
  return f32x4.mul(f32x4.mul(p, t), exp4(f32x4.neg(f32x4.mul(z, z))));
}

// Returns GELU, x·Φ(x), where Φ(x) = erfc(−x/√2)/2 is the normal distribution function.
@inline function gelu4(x: v128): v128 {
  const z = f32x4.mul(f32x4.abs(x), f32x4.splat(0.70710678));
  const tail = f32x4.mul(f32x4.mul(x, f32x4.splat(0.5)), erfc4(z));
  return v128.bitselect(tail, f32x4.sub(x, tail), f32x4.lt(x, f32x4.splat(0)));
}

@inline export function activate4(x: v128, activation: u32): v128 {
  if (activation == RELU) return f32x4.pmax(x, f32x4.splat(0));
  if (activation == GELU_TANH) {
    // GELU multiplies x by (1 + tanh u)/2 with u = √(2/π)·(x + 0.044715·x³). This factor equals σ(2u), where σ is the
    // logistic sigmoid. σ(2u) is computed because 1 + tanh u would cancel if tanh u is near −1.
    const cubic = f32x4.mul(f32x4.mul(x, x), f32x4.mul(x, f32x4.splat(0.044715)));
    return times_sigmoid4(x, f32x4.mul(f32x4.add(x, cubic), f32x4.splat(1.5957691216)));
  }
  if (activation == GELU) return gelu4(x);
  if (activation == SILU) return times_sigmoid4(x, x);
  if (activation == SIGMOID) return times_sigmoid4(f32x4.splat(1), x);
  if (activation == RELU2) {
    const positive = f32x4.pmax(x, f32x4.splat(0));
    return f32x4.mul(positive, positive);
  }
  return x;
}
