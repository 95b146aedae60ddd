// The exponential and the hyperbolic tangent of the four lanes of a vector, and the logarithm of one f64 number. exp4
// is inlined, because a call per vector would cost as much as the polynomial. The logarithm is computed here because
// the standard library's version reads a table. The table would be a data segment, and every thread's instance of the
// module would write it into the shared memory again when the instance starts.
//
// The constants are globals, which prepare_exp() sets at the start of a work item. V8 builds a v128.const from three
// instructions at every use, but it reads a global with one load. This halves the time of the whole function. pmin and
// pmax are used because min and max take seven instructions each.

// The limits of exp4. For x below LOWEST, e^x is less than 2^-125, and exp4 returns 0. For x above HIGHEST, exp4
// returns e^HIGHEST = 2.4e38.
const LOWEST: f32 = -86.9;
const HIGHEST: f32 = 88.37;
// Adding this number to x/ln 2 rounds the quotient to an integer n. The low bits of the sum are then n + 127, the
// exponent field of 2^n.
const ROUNDING: f32 = 12582912 + 127;

let lowest: v128 = i32x4.splat(0);
let highest: v128 = i32x4.splat(0);
let rounding: v128 = i32x4.splat(0);
let log2E: v128 = i32x4.splat(0);
let ln2High: v128 = i32x4.splat(0);
let ln2Low: v128 = i32x4.splat(0);
let c7: v128 = i32x4.splat(0);
let c6: v128 = i32x4.splat(0);
let c5: v128 = i32x4.splat(0);
let c4: v128 = i32x4.splat(0);
let c3: v128 = i32x4.splat(0);
let c2: v128 = i32x4.splat(0);
let one: v128 = i32x4.splat(0);

// Must be called in every item before the first exp4.
export function prepare_exp(): void {
  lowest = f32x4.splat(LOWEST);
  highest = f32x4.splat(HIGHEST);
  rounding = f32x4.splat(ROUNDING);
  log2E = f32x4.splat(1.44269504);
  // ln 2 as the sum of two parts (Cody & Waite). The product of n and the high part is exact for every n that occurs.
  ln2High = f32x4.splat(0.693359375);
  ln2Low = f32x4.splat(-2.12194440e-4);
  // The coefficients of (e^r − 1 − r)/r², from the expf of Cephes.
  c7 = f32x4.splat(1.9875691500e-4);
  c6 = f32x4.splat(1.3981999507e-3);
  c5 = f32x4.splat(8.3334519073e-3);
  c4 = f32x4.splat(4.1665795894e-2);
  c3 = f32x4.splat(1.6666665459e-1);
  c2 = f32x4.splat(5.0000001201e-1);
  one = f32x4.splat(1);
}

// Returns e^x with a relative error of 2e-7, and NaN for NaN. It splits x = n·ln 2 + r, where n is an integer and |r| ≤
// ln 2/2, and evaluates a polynomial for e^r.
// @ts-ignore: decorator
@inline export function exp4(x: v128): v128 {
  const clamped = f32x4.pmin(f32x4.pmax(x, lowest), highest); // this order of operands preserves NaN
  const rounded = f32x4.relaxed_madd(clamped, log2E, rounding);
  const n = f32x4.sub(rounded, rounding);
  const r = f32x4.relaxed_nmadd(n, ln2Low, f32x4.relaxed_nmadd(n, ln2High, clamped));
  let p = f32x4.relaxed_madd(r, c7, c6);
  p = f32x4.relaxed_madd(p, r, c5);
  p = f32x4.relaxed_madd(p, r, c4);
  p = f32x4.relaxed_madd(p, r, c3);
  p = f32x4.relaxed_madd(p, r, c2);
  p = f32x4.add(f32x4.relaxed_madd(p, f32x4.mul(r, r), r), one);
  return v128.andnot(f32x4.mul(p, i32x4.shl(rounded, 23)), f32x4.lt(x, lowest));
}

// Returns x·σ(z) = x/(1 + e^-z), where σ is the logistic sigmoid.
// @ts-ignore: decorator
@inline export function times_sigmoid4(x: v128, z: v128): v128 {
  return f32x4.div(x, f32x4.add(exp4(f32x4.neg(z)), one));
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
  const far = f32x4.sub(one, f32x4.div(f32x4.splat(2), f32x4.add(power, one)));
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
