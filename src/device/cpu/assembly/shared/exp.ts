// The exponential and the hyperbolic tangent of the four lanes of a vector, and the logarithm of one f64 number. exp4
// is inlined, because a call per vector would cost as much as the polynomial. The logarithm is computed here because
// the standard library's version reads a large table. pmin and pmax are used because min and max take seven instructions
// each.

import { lanes_of } from "./lanes";

// The limits of exp4. For x below LOWEST, e^x is less than 2^-125, and exp4 returns 0. For x above HIGHEST, exp4
// returns e^HIGHEST = 2.4e38.
const LOWEST = memory.data<f32>([-86.9]);
const HIGHEST = memory.data<f32>([88.37]);
// Adding this number to x/ln 2 rounds the quotient to an integer n. The low bits of the sum are then n + 127, the
// exponent field of 2^n.
const ROUNDING = memory.data<f32>([12582912 + 127]);
const LOG2_E = memory.data<f32>([1.44269504]);
// ln 2 as the sum of two parts (Cody & Waite). The product of n and the high part is exact for every n that occurs.
const LN2_HIGH = memory.data<f32>([0.693359375]);
const LN2_LOW = memory.data<f32>([-2.12194440e-4]);
// The coefficients of (e^r − 1 − r)/r² for which the largest relative error of e^r, 3e-9, is smallest.
const C6 = memory.data<f32>([1.381454012e-3]);
const C5 = memory.data<f32>([8.368745155e-3]);
const C4 = memory.data<f32>([4.166839079e-2]);
const C3 = memory.data<f32>([1.666652040e-1]);
const C2 = memory.data<f32>([4.999999343e-1]);
const ONE = memory.data<f32>([1]);
const TWO = memory.data<f32>([2]);
const SIGN = memory.data<u32>([0x80000000]);
// The coefficients of (tanh x − x)/x³ as a polynomial of x², the highest first, for |x| below NEAR.
const TANH = memory.data<f32>([-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1]);
const NEAR = memory.data<f32>([0.625]);

// Returns e^x, and NaN for NaN.
@inline export function exp4(x: v128): v128 {
  return v128.andnot(positive_exp4(x), f32x4.lt(x, lanes_of(LOWEST)));
}

// Returns e^x with a relative error of 9e-8, and NaN for NaN. Below LOWEST, it returns e^LOWEST = 1.8e-38. It splits
// x = n·ln 2 + r, where n is an integer and |r| ≤ ln 2/2, and evaluates a polynomial for e^r.
@inline function positive_exp4(x: v128): v128 {
  const clamped = f32x4.pmin(f32x4.pmax(x, lanes_of(LOWEST)), lanes_of(HIGHEST)); // this order of operands preserves NaN
  const rounded = f32x4.relaxed_madd(clamped, lanes_of(LOG2_E), lanes_of(ROUNDING));
  const n = f32x4.sub(rounded, lanes_of(ROUNDING));
  const r = f32x4.relaxed_nmadd(n, lanes_of(LN2_LOW), f32x4.relaxed_nmadd(n, lanes_of(LN2_HIGH), clamped));
  let p = f32x4.relaxed_madd(r, lanes_of(C6), lanes_of(C5));
  p = f32x4.relaxed_madd(p, r, lanes_of(C4));
  p = f32x4.relaxed_madd(p, r, lanes_of(C3));
  p = f32x4.relaxed_madd(p, r, lanes_of(C2));
  p = f32x4.add(f32x4.relaxed_madd(p, f32x4.mul(r, r), r), lanes_of(ONE));
  return f32x4.mul(p, i32x4.shl(rounded, 23));
}

// Returns x·σ(z) = x/(1 + e^-z), where σ is the logistic sigmoid. Where e^-z is below 1.8e-38, the sum is 1.
@inline export function times_sigmoid4(x: v128, z: v128): v128 {
  return f32x4.div(x, f32x4.add(positive_exp4(f32x4.neg(z)), lanes_of(ONE)));
}

// Returns tanh x with a relative error of a few units in the last place. Near zero it is the odd polynomial of tanhf in
// Cephes, because 1 − 2/(e^2x + 1) would cancel there.
@inline export function tanh4(x: v128): v128 {
  const square = f32x4.mul(x, x);
  let p = f32x4.relaxed_madd(square, lanes_of(TANH), lanes_of(TANH + 4));
  p = f32x4.relaxed_madd(p, square, lanes_of(TANH + 8));
  p = f32x4.relaxed_madd(p, square, lanes_of(TANH + 12));
  p = f32x4.relaxed_madd(p, square, lanes_of(TANH + 16));
  const near = f32x4.relaxed_madd(x, f32x4.mul(square, p), x);
  const magnitude = f32x4.abs(x);
  const power = exp4(f32x4.add(magnitude, magnitude));
  const far = f32x4.sub(lanes_of(ONE), f32x4.div(lanes_of(TWO), f32x4.add(power, lanes_of(ONE))));
  const signed = v128.or(far, v128.and(x, lanes_of(SIGN)));
  return v128.bitselect(near, signed, f32x4.lt(magnitude, lanes_of(NEAR)));
}

// Returns caps·tanh(x/caps), which is at most `caps` and close to x for a small x.
@inline export function cap4(x: v128, caps: v128): v128 {
  return f32x4.mul(caps, tanh4(f32x4.div(x, caps)));
}

// Returns ln x of a positive normal number. Infinity and NaN are returned unchanged. With x = 2^e·f and √½ ≤ f < √2, it
// sums the series of ln f = 2·artanh s, s = (f − 1)/(f + 1). Eight terms have an error of 1e-14, because |s| ≤ 0.172.
export function log_f64(x: f64): f64 {
  if (!(x < Infinity)) return x;
  let e = <i32>(reinterpret<u64>(x) >> 52) - 1023;
  let f = reinterpret<f64>((reinterpret<u64>(x) & 0xfffffffffffff) | (<u64>1023 << 52));
  if (f > 1.4142135623730951) {
    f *= 0.5;
    e += 1;
  }
  const s = (f - 1) / (f + 1);
  const s2 = s * s;
  let sum: f64 = 0;
  for (let power = 15; power > 0; power -= 2) sum = sum * s2 + 1.0 / <f64>power;
  return <f64>e * 0.6931471805599453 + 2 * s * sum;
}
