// Twin of shaders/convert.wgsl, eight elements at a time; what is left over goes one at a time through the same functions. The formats
// themselves are in float16.ts. An item is a run of elements.

import { pointer, u32At } from "./args";
import { narrow_bf16, narrow_f16, prepare_float16, widen_bf16, widen_f16 } from "./float16";
import { ceil_divide } from "./items";

const F32: u32 = 0;
const F16: u32 = 1;

// Even, so that no word of two halves is shared by two items.
const ELEMENTS_PER_ITEM: u32 = 1 << 16;

// @ts-ignore: decorator
@inline function widen(halves: v128, f16: bool): v128 {
  return f16 ? widen_f16(halves) : widen_bf16(halves);
}

// @ts-ignore: decorator
@inline function narrow(words: v128, f16: bool): v128 {
  return f16 ? narrow_f16(words) : narrow_bf16(words);
}

// @ts-ignore: decorator
@inline function widen_run(source: usize, target: usize, count: u32, f16: bool): void {
  let i: u32 = 0;
  for (; i + 8 <= count; i += 8) {
    const halves = v128.load(source + (<usize>i << 1));
    v128.store(target + (<usize>i << 2), widen(i32x4.extend_low_i16x8_u(halves), f16));
    v128.store(target + (<usize>i << 2), widen(i32x4.extend_high_i16x8_u(halves), f16), 16);
  }
  for (; i < count; i++) {
    const half = i32x4.splat(load<u16>(source + (<usize>i << 1)));
    store<i32>(target + (<usize>i << 2), i32x4.extract_lane(widen(half, f16), 0));
  }
}

// @ts-ignore: decorator
@inline function narrow_run(source: usize, target: usize, count: u32, f16: bool): void {
  let i: u32 = 0;
  for (; i + 8 <= count; i += 8) {
    const low = narrow(v128.load(source + (<usize>i << 2)), f16);
    const high = narrow(v128.load(source + (<usize>i << 2), 16), f16);
    v128.store(target + (<usize>i << 1), i16x8.narrow_i32x4_u(low, high));
  }
  for (; i < count; i++) {
    const word = v128.load32_splat(source + (<usize>i << 2));
    store<u16>(target + (<usize>i << 1), <u16>i32x4.extract_lane(narrow(word, f16), 0));
  }
  if (count & 1) store<u16>(target + (<usize>count << 1), 0);
}

export function to_float32_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, 2), ELEMENTS_PER_ITEM);
}

export function to_float32(args: usize, item: i32): void {
  const first = <u32>item * ELEMENTS_PER_ITEM;
  const count = min<u32>(ELEMENTS_PER_ITEM, u32At(args, 2) - first);
  prepare_float16();
  const dtype = u32At(args, 3);
  const element = <usize>(u32At(args, 4) + first);
  const source = pointer(args, 0);
  const target = pointer(args, 1) + (<usize>(u32At(args, 5) + first) << 2);
  if (dtype == F32) memory.copy(target, source + (element << 2), <usize>count << 2);
  else if (dtype == F16) widen_run(source + (element << 1), target, count, true);
  else widen_run(source + (element << 1), target, count, false);
}

export function from_float32_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, 2), ELEMENTS_PER_ITEM);
}

export function from_float32(args: usize, item: i32): void {
  const first = <u32>item * ELEMENTS_PER_ITEM;
  const count = min<u32>(ELEMENTS_PER_ITEM, u32At(args, 2) - first);
  prepare_float16();
  const dtype = u32At(args, 3);
  const source = pointer(args, 0) + (<usize>(u32At(args, 4) + first) << 2);
  const target = pointer(args, 1);
  if (dtype == F32) memory.copy(target + (<usize>first << 2), source, <usize>count << 2);
  else if (dtype == F16) narrow_run(source, target + (<usize>first << 1), count, true);
  else narrow_run(source, target + (<usize>first << 1), count, false);
}
