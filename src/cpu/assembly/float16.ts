// f16 (IEEE binary16) and bf16 to and from f32, four lanes at a time, an element in the low half of a lane. Exact, or rounded to nearest even;
// subnormals and infinities are kept, and a NaN comes out quiet with its sign and upper payload.
//
// The constants are globals, set by prepare_float16() at the start of an item: V8 makes a v128.const anew of three instructions at each
// use, where a global is one load (a third of the time in all).

let halfSign: v128 = i32x4.splat(0);
let one: v128 = i32x4.splat(0);
let wideMagnitude: v128 = i32x4.splat(0);
let wideInfinity: v128 = i32x4.splat(0);
let wideQuiet: v128 = i32x4.splat(0);
let halfInfinity: v128 = i32x4.splat(0);
let halfQuiet: v128 = i32x4.splat(0);
let halfPayload: v128 = i32x4.splat(0);
// f16 magnitudes moved up 13 bits, where their fraction is an f32's.
let movedMagnitude: v128 = i32x4.splat(0);
let movedSmallestNormal: v128 = i32x4.splat(0);
let movedInfinity: v128 = i32x4.splat(0);
let rebias: v128 = i32x4.splat(0);
let smallestNormal: v128 = i32x4.splat(0);
let overflow: v128 = i32x4.splat(0);
let rebiasAndRound: v128 = i32x4.splat(0);
let subnormalUnit: v128 = i32x4.splat(0);
let belowHalf: v128 = i32x4.splat(0);

// Before the first conversion of an item.
export function prepare_float16(): void {
  halfSign = i32x4.splat(0x8000);
  one = i32x4.splat(1);
  wideMagnitude = i32x4.splat(0x7fffffff);
  wideInfinity = i32x4.splat(0x7f800000);
  wideQuiet = i32x4.splat(0x00400000);
  halfInfinity = i32x4.splat(0x7c00);
  halfQuiet = i32x4.splat(0x7e00);
  halfPayload = i32x4.splat(0x03ff);
  movedMagnitude = i32x4.splat(0x7fff << 13);
  movedSmallestNormal = i32x4.splat(0x0400 << 13);
  movedInfinity = i32x4.splat(0x7c00 << 13);
  rebias = i32x4.splat((127 - 15) << 23);
  smallestNormal = i32x4.splat(0x38800000); // 2^-14
  overflow = i32x4.splat(0x47800000); // 2^16
  // Half a unit less one; plus the last kept bit it is ties to even.
  rebiasAndRound = i32x4.splat(((127 - 15) << 23) - 0xfff);
  // The unit of f32 next to 0.5 is 2^-24, f16's subnormal unit.
  subnormalUnit = f32x4.splat(0.5);
  belowHalf = i32x4.splat(0x7fff);
}

// @ts-ignore: decorator
@inline export function widen_f16(halves: v128): v128 {
  const sign = i32x4.shl(v128.and(halves, halfSign), 16);
  const magnitude = v128.and(i32x4.shl(halves, 13), movedMagnitude);
  const normal = i32x4.add(magnitude, rebias);
  // With the exponent of 2^-14 a subnormal is 2^-14 too large, exactly. No f32 subnormal is computed with: some processors are slow there.
  const subnormal = f32x4.sub(i32x4.add(magnitude, smallestNormal), smallestNormal);
  let word = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, movedSmallestNormal));
  word = v128.or(word, v128.and(i32x4.ge_s(magnitude, movedInfinity), wideInfinity));
  word = v128.or(word, v128.and(i32x4.gt_s(magnitude, movedInfinity), wideQuiet));
  return v128.or(word, sign);
}

// @ts-ignore: decorator
@inline export function narrow_f16(words: v128): v128 {
  const sign = v128.and(i32x4.shr_u(words, 16), halfSign);
  const magnitude = v128.and(words, wideMagnitude);
  const kept = i32x4.shr_u(magnitude, 13);
  // The carry out of 65504 reaches infinity's bits.
  const normal = i32x4.shr_u(i32x4.add(i32x4.sub(magnitude, rebiasAndRound), v128.and(kept, one)), 13);
  const subnormal = i32x4.sub(f32x4.add(magnitude, subnormalUnit), subnormalUnit); // the addition rounds
  let half = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, smallestNormal));
  half = v128.bitselect(halfInfinity, half, i32x4.ge_s(magnitude, overflow));
  const nan = v128.or(v128.and(kept, halfPayload), halfQuiet);
  half = v128.bitselect(nan, half, i32x4.gt_s(magnitude, wideInfinity));
  return v128.or(half, sign);
}

// @ts-ignore: decorator
@inline export function widen_bf16(halves: v128): v128 {
  return i32x4.shl(halves, 16);
}

// @ts-ignore: decorator
@inline export function narrow_bf16(words: v128): v128 {
  const upper = i32x4.shr_u(words, 16);
  const rounded = i32x4.shr_u(i32x4.add(i32x4.add(words, belowHalf), v128.and(upper, one)), 16);
  const nan = i32x4.gt_s(v128.and(words, wideMagnitude), wideInfinity);
  return v128.bitselect(v128.or(upper, i32x4.shr_u(wideQuiet, 16)), rounded, nan);
}
