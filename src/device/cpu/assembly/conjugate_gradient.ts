// The CPU twins of the kernels in shaders/conjugate_gradient.wgsl. src/device/kernels/conjugate_gradient.ts describes
// the buffers. A work item is some whole rows.

import { CgDirectionArgs, CgStepArgs } from "./args";
import { flags_of, four_bits, one_bit } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;

// Returns the ratio of two of the sums of a row, or 0 if the denominator is not positive. A row without kept entries
// has the denominator 0.
function ratio(sums: usize, numerator: u32, denominator: u32): f32 {
  const divisor = load<f32>(sums + (<usize>denominator << 2));
  return divisor > 0 ? load<f32>(sums + (<usize>numerator << 2)) / divisor : 0;
}

export function cg_step_rows(args: CgStepArgs, start: u32, end: u32): void {
  const cols = args.cols, first = args.first;
  const stride = <usize>args.ld << 2, maskStride = <usize>args.words << 2, sumsStride = <usize>args.stride << 2;
  for (let i = start; i < end; i++) {
    const matrixRow = <usize>(args.row0 + i);
    const mask = args.mask + matrixRow * maskStride;
    const a = ratio(args.sums + matrixRow * sumsStride, args.numerator, args.denominator), as = f32x4.splat(a);
    const offset = <usize>i * stride;
    let p = args.p + offset, ap = args.ap + offset, q = args.q + offset, r = args.r + offset;
    let c: u32 = 0;
    for (; c + 4 <= cols; c += 4) {
      const kept = flags_of(four_bits(mask, first + c));
      v128.store(q, f32x4.relaxed_madd(as, v128.load(p), v128.load(q)));
      v128.store(r, v128.and(f32x4.relaxed_nmadd(as, v128.load(ap), v128.load(r)), kept));
      p += 16;
      ap += 16;
      q += 16;
      r += 16;
    }
    for (; c < cols; c++) {
      store<f32>(q, load<f32>(q) + a * load<f32>(p));
      store<f32>(r, one_bit(mask, first + c) == 1 ? load<f32>(r) - a * load<f32>(ap) : 0);
      p += 4;
      ap += 4;
      q += 4;
      r += 4;
    }
  }
}

export function cg_direction_rows(args: CgDirectionArgs, start: u32, end: u32): void {
  const cols = args.cols;
  const stride = <usize>args.ld << 2, sumsStride = <usize>args.stride << 2;
  for (let i = start; i < end; i++) {
    const b = ratio(args.sums + <usize>(args.row0 + i) * sumsStride, args.numerator, args.denominator);
    const bs = f32x4.splat(b), offset = <usize>i * stride;
    let r = args.r + offset, p = args.p + offset;
    let c: u32 = 0;
    for (; c + 4 <= cols; c += 4) {
      v128.store(p, f32x4.relaxed_madd(bs, v128.load(p), v128.load(r)));
      r += 16;
      p += 16;
    }
    for (; c < cols; c++) {
      store<f32>(p, load<f32>(r) + b * load<f32>(p));
      r += 4;
      p += 4;
    }
  }
}
