// The CPU twins of the kernels in shaders/convert.wgsl. They convert packed f32, f16 or bf16 elements to f32 and back,
// eight at a time, and the last few one at a time by the same functions. shared/float16.ts knows the bit formats. A
// work item is a run of elements.

import { FromFloat32Args, ToFloat32Args } from "./args";
import { narrow_run, widen_bf16, widen_f16 } from "./shared/float16";

// The values of `dtype`, as in DTYPE_CODE of src/device/kernels/transfer/convert.ts. The remaining value, 2, is bf16.
const F32: u32 = 0;
const F16: u32 = 1;

// An even number, because a 32-bit word holds two 16-bit elements and two items must never write to the same word.
export const ELEMENTS_PER_ITEM: u32 = 1 << 16;

@inline function widen(halves: v128, f16: bool): v128 {
  return f16 ? widen_f16(halves) : widen_bf16(halves);
}

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

export function to_float32_elements(args: ToFloat32Args, first: u32, count: u32): void {
  const dtype = args.dtype;
  const element = <usize>(args.source_offset + first);
  const source = args.source;
  const target = args.target + (<usize>(args.target_offset + first) << 2);
  if (dtype == F32) memory.copy(target, source + (element << 2), <usize>count << 2);
  else if (dtype == F16) widen_run(source + (element << 1), target, count, true);
  else widen_run(source + (element << 1), target, count, false);
}

export function from_float32_elements(args: FromFloat32Args, first: u32, count: u32): void {
  const dtype = args.dtype;
  const source = args.source + (<usize>(args.source_offset + first) << 2);
  const target = args.target;
  if (dtype == F32) memory.copy(target + (<usize>first << 2), source, <usize>count << 2);
  else if (dtype == F16) narrow_run(source, target + (<usize>first << 1), count, true);
  else narrow_run(source, target + (<usize>first << 1), count, false);
  // The other half of the last word becomes 0. Only the last item can have an odd number of elements.
  if (dtype != F32 && (count & 1) == 1) store<u16>(target + (<usize>(first + count) << 1), 0);
}
