// Conversion between f32 and f16 (IEEE binary16) or bf16, for the four lanes of a vector at a time. A 16-bit element is
// the low half of its lane. Conversion to f32 is exact, and conversion from f32 rounds to nearest even. Subnormals and
// infinities are preserved. A NaN becomes quiet, and keeps its sign and the upper bits of its payload.

import { lanes_of } from "./lanes";

const F16_SIGN = memory.data<u32>([0x8000]);
const ONE = memory.data<u32>([1]);
const F32_MAGNITUDE = memory.data<u32>([0x7fffffff]);
const F32_INFINITY = memory.data<u32>([0x7f800000]);
const F32_QUIET = memory.data<u32>([0x00400000]);
const F16_INFINITY = memory.data<u32>([0x7c00]);
const F16_QUIET = memory.data<u32>([0x7e00]);
const F16_PAYLOAD = memory.data<u32>([0x03ff]);
// Constants for f16 magnitudes that were shifted left by 13 bits, which aligns their fraction with the fraction of f32.
const SHIFTED_MAGNITUDE = memory.data<u32>([0x7fff << 13]);
const SHIFTED_SMALLEST_NORMAL = memory.data<u32>([0x0400 << 13]);
const SHIFTED_INFINITY = memory.data<u32>([0x7c00 << 13]);
const REBIAS = memory.data<u32>([(127 - 15) << 23]);
const F16_SMALLEST_NORMAL = memory.data<u32>([0x38800000]); // 2^-14
const F16_OVERFLOW = memory.data<u32>([0x47800000]); // 2^16
// Subtracting this number rebiases the exponent and adds 0xfff, which is one less than half a unit of f16. Adding the
// last bit that f16 keeps as well makes ties round to even.
const REBIAS_AND_ROUND = memory.data<u32>([((127 - 15) << 23) - 0xfff]);
// Between 0.5 and 1, neighbouring f32 numbers are 2^-24 apart, like the subnormals of f16. So adding 0.5 rounds a
// number to a multiple of 2^-24.
const SUBNORMAL_ROUNDING = memory.data<f32>([0.5]);
const BF16_BELOW_HALF = memory.data<u32>([0x7fff]);

@inline export function widen_f16(halves: v128): v128 {
  const sign = i32x4.shl(v128.and(halves, lanes_of(F16_SIGN)), 16);
  const magnitude = v128.and(i32x4.shl(halves, 13), lanes_of(SHIFTED_MAGNITUDE));
  const normal = i32x4.add(magnitude, lanes_of(REBIAS));
  // If a subnormal is given the exponent field of 2^-14, its value is exactly 2^-14 too large, so 2^-14 is subtracted
  // again. This avoids arithmetic on f32 subnormals, which some processors do slowly.
  const subnormal = f32x4.sub(i32x4.add(magnitude, lanes_of(F16_SMALLEST_NORMAL)), lanes_of(F16_SMALLEST_NORMAL));
  let word = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, lanes_of(SHIFTED_SMALLEST_NORMAL)));
  word = v128.or(word, v128.and(i32x4.ge_s(magnitude, lanes_of(SHIFTED_INFINITY)), lanes_of(F32_INFINITY)));
  word = v128.or(word, v128.and(i32x4.gt_s(magnitude, lanes_of(SHIFTED_INFINITY)), lanes_of(F32_QUIET)));
  return v128.or(word, sign);
}

@inline function narrow_f16(words: v128): v128 {
  const sign = v128.and(i32x4.shr_u(words, 16), lanes_of(F16_SIGN));
  const magnitude = v128.and(words, lanes_of(F32_MAGNITUDE));
  const truncated = i32x4.shr_u(magnitude, 13);
  // The largest f16 is 65504. From 65520 on, rounding up carries into the exponent and gives infinity.
  const normal = i32x4.shr_u(i32x4.add(i32x4.sub(magnitude, lanes_of(REBIAS_AND_ROUND)), v128.and(truncated, lanes_of(ONE))), 13);
  const subnormal = i32x4.sub(f32x4.add(magnitude, lanes_of(SUBNORMAL_ROUNDING)), lanes_of(SUBNORMAL_ROUNDING)); // the f32 addition rounds
  let half = v128.bitselect(subnormal, normal, i32x4.lt_s(magnitude, lanes_of(F16_SMALLEST_NORMAL)));
  half = v128.bitselect(lanes_of(F16_INFINITY), half, i32x4.ge_s(magnitude, lanes_of(F16_OVERFLOW)));
  const nan = v128.or(v128.and(truncated, lanes_of(F16_PAYLOAD)), lanes_of(F16_QUIET));
  half = v128.bitselect(nan, half, i32x4.gt_s(magnitude, lanes_of(F32_INFINITY)));
  return v128.or(half, sign);
}

@inline export function widen_bf16(halves: v128): v128 {
  return i32x4.shl(halves, 16);
}

// Returns words whose upper halves are the bf16 numbers.
@inline function round_bf16(words: v128): v128 {
  const rounded = i32x4.add(i32x4.add(words, lanes_of(BF16_BELOW_HALF)), v128.and(i32x4.shr_u(words, 16), lanes_of(ONE)));
  return i32x4.relaxed_laneselect(v128.or(words, lanes_of(F32_QUIET)), rounded, f32x4.ne(words, words));
}

// target ← `count` f32 elements of source in f16 or bf16.
@inline export function narrow_run(source: usize, target: usize, count: u32, f16: bool): void {
  let i: u32 = 0;
  for (; i + 8 <= count; i += 8) {
    const low = v128.load(source + (<usize>i << 2)), high = v128.load(source + (<usize>i << 2), 16);
    v128.store(
      target + (<usize>i << 1),
      f16
        ? i16x8.narrow_i32x4_u(narrow_f16(low), narrow_f16(high))
        : v128.shuffle<i16>(round_bf16(low), round_bf16(high), 1, 3, 5, 7, 9, 11, 13, 15),
    );
  }
  for (; i < count; i++) {
    const word = v128.load32_splat(source + (<usize>i << 2));
    store<u16>(target + (<usize>i << 1), <u16>i32x4.extract_lane(f16 ? narrow_f16(word) : i32x4.shr_u(round_bf16(word), 16), 0));
  }
}

// copy ← the elements first … first + count − 1 of y in bf16, for a kernel that has just written them and rounds its
// output itself. If `copy` is 0, the function does nothing.
export function round_output(y: usize, copy: usize, first: u32, count: u32): void {
  if (copy == 0) return;
  narrow_run(y + (<usize>first << 2), copy + (<usize>first << 1), count, false);
}
