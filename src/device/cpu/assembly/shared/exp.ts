// The exponential and the hyperbolic tangent of the four lanes of a vector, and the logarithm of one f64 number. exp4
// is inlined, because a call per vector would cost as much as the polynomial. The logarithm is computed here because
// the standard library's version reads a table. The table would be a data segment, and every thread's instance of the
// module would write it into the shared memory again when the instance starts.
//
// The constants lie in memory, where prepare_exp() writes them. V8 builds a v128.const from three instructions at every
// use, but it copies a number in memory to all lanes with one instruction, also where it pairs instructions. This halves
// the time of the whole function. pmin and pmax are used because min and max take seven instructions each.

import { exp_constants } from "./instance";

// The offsets of the constants. The limits of exp4 come first. For x below the lowest, e^x is less than 2^-125, and
// exp4 returns 0. For x above the highest, exp4 returns e^88.37 = 2.4e38.
const LOWEST: usize = 0;
const HIGHEST: usize = 4;
// Adding this number to x/ln 2 rounds the quotient to an integer n. The low bits of the sum are then n + 127, the
// exponent field of 2^n.
const ROUNDING: usize = 8;
const LOG2_E: usize = 12;
// ln 2 is the sum of two parts (Cody & Waite). The product of n and the high part is exact for every n that occurs.
const LN2_HIGH: usize = 16;
const LN2_LOW: usize = 20;
// The coefficients of the polynomial (e^r − 1 − r)/r², for which the largest relative error of e^r, 3e-9, is smallest.
const C6: usize = 24;
const C5: usize = 28;
const C4: usize = 32;
const C3: usize = 36;
const C2: usize = 40;
const ONE: usize = 44;

let isPrepared: bool = false;

// Must be called in every item before the first exp4. All threads write the same constants.
export function prepare_exp(): void {
  if (isPrepared) return;
  const constants = exp_constants();
  store<f32>(constants, -86.9, LOWEST);
  store<f32>(constants, 88.37, HIGHEST);
  store<f32>(constants, 12582912 + 127, ROUNDING);
  store<f32>(constants, 1.44269504, LOG2_E);
  store<f32>(constants, 0.693359375, LN2_HIGH);
  store<f32>(constants, -2.12194440e-4, LN2_LOW);
  store<f32>(constants, 1.381454012e-3, C6);
  store<f32>(constants, 8.368745155e-3, C5);
  store<f32>(constants, 4.166839079e-2, C4);
  store<f32>(constants, 1.666652040e-1, C3);
  store<f32>(constants, 4.999999343e-1, C2);
  store<f32>(constants, 1, ONE);
  isPrepared = true;
}

// Returns a constant in all lanes.
// @ts-ignore: decorator
@inline function four(constant: usize): v128 {
  return v128.load32_splat(exp_constants() + constant);
}

// Returns e^x, and NaN for NaN.
// @ts-ignore: decorator
@inline export function exp4(x: v128): v128 {
  return v128.andnot(positive_exp4(x), f32x4.lt(x, four(LOWEST)));
}

// Returns e^x with a relative error of 9e-8, and NaN for NaN. Below the lowest x, it returns 1.8e-38. It splits
// x = n·ln 2 + r, where n is an integer and |r| ≤ ln 2/2, and evaluates a polynomial for e^r.
// @ts-ignore: decorator
@inline function positive_exp4(x: v128): v128 {
  const clamped = f32x4.pmin(f32x4.pmax(x, four(LOWEST)), four(HIGHEST)); // this order of operands preserves NaN
  const rounded = f32x4.relaxed_madd(clamped, four(LOG2_E), four(ROUNDING));
  const n = f32x4.sub(rounded, four(ROUNDING));
  const r = f32x4.relaxed_nmadd(n, four(LN2_LOW), f32x4.relaxed_nmadd(n, four(LN2_HIGH), clamped));
  let p = f32x4.relaxed_madd(r, four(C6), four(C5));
  p = f32x4.relaxed_madd(p, r, four(C4));
  p = f32x4.relaxed_madd(p, r, four(C3));
  p = f32x4.relaxed_madd(p, r, four(C2));
  p = f32x4.add(f32x4.relaxed_madd(p, f32x4.mul(r, r), r), four(ONE));
  return f32x4.mul(p, i32x4.shl(rounded, 23));
}

// Returns x·σ(z) = x/(1 + e^-z), where σ is the logistic sigmoid. Where e^-z is below 1.8e-38, the sum is 1.
// @ts-ignore: decorator
@inline export function times_sigmoid4(x: v128, z: v128): v128 {
  return f32x4.div(x, f32x4.add(positive_exp4(f32x4.neg(z)), four(ONE)));
}

// Returns tanh x with a relative error of a few units in the last place. Near zero it is the odd polynomial of tanhf in
// Cephes, because 1 − 2/(e^2x + 1) would cancel there.
// @ts-ignore: decorator
@inline export function tanh4(x: v128): v128 {
  const square = f32x4.mul(x, x);
  let p = f32x4.relaxed_madd(square, f32x4.splat(-5.70498872745e-3), f32x4.splat(2.06390887954e-2));
  p = f32x4.relaxed_madd(p, square, f32x4.splat(-5.37397155531e-2));
  p = f32x4.relaxed_madd(p, square, f32x4.splat(1.33314422036e-1));
  p = f32x4.relaxed_madd(p, square, f32x4.splat(-3.33332819422e-1));
  const near = f32x4.relaxed_madd(x, f32x4.mul(square, p), x);
  const magnitude = f32x4.abs(x);
  const power = exp4(f32x4.add(magnitude, magnitude));
  const far = f32x4.sub(four(ONE), f32x4.div(f32x4.splat(2), f32x4.add(power, four(ONE))));
  const signed = v128.or(far, v128.and(x, i32x4.splat(0x80000000)));
  return v128.bitselect(near, signed, f32x4.lt(magnitude, f32x4.splat(0.625)));
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
