// The CPU twins of the kernels in shaders/combine.wgsl. src/device/kernels/combine.ts describes the buffers. A work
// item is some whole rows.

import { MaskedCombineArgs, ScaleTileArgs } from "./args";
import { flags_of, four_bits, one_bit } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 16;

export function masked_combine_rows(args: MaskedCombineArgs, start: u32, end: u32): void {
  const cols = args.cols, first = args.first;
  const stride = <usize>args.ld << 2, maskStride = <usize>args.words << 2;
  const keptX = args.kept_x, keptY = args.kept_y, prunedX = args.pruned_x, prunedY = args.pruned_y;
  const keptXs = f32x4.splat(keptX), keptYs = f32x4.splat(keptY);
  const prunedXs = f32x4.splat(prunedX), prunedYs = f32x4.splat(prunedY);
  for (let r = start; r < end; r++) {
    const mask = args.mask + <usize>(args.row0 + r) * maskStride;
    let x = args.x + <usize>r * stride, y = args.y + <usize>r * stride;
    let c: u32 = 0;
    for (; c + 4 <= cols; c += 4) {
      const kept = flags_of(four_bits(mask, first + c));
      const fromX = f32x4.mul(v128.bitselect(keptXs, prunedXs, kept), v128.load(x));
      v128.store(y, f32x4.relaxed_madd(v128.bitselect(keptYs, prunedYs, kept), v128.load(y), fromX));
      x += 16;
      y += 16;
    }
    for (; c < cols; c++) {
      const kept = one_bit(mask, first + c) == 1;
      store<f32>(y, (kept ? keptX : prunedX) * load<f32>(x) + (kept ? keptY : prunedY) * load<f32>(y));
      x += 4;
      y += 4;
    }
  }
}

export function scale_tile_rows(args: ScaleTileArgs, start: u32, end: u32): void {
  const cols = args.cols, hasLeft = args.has_left == 1;
  const left = args.left + (<usize>args.row0 << 2);
  for (let r = start; r < end; r++) {
    const factor: f32 = hasLeft ? load<f32>(left + (<usize>r << 2)) : 1, factors = f32x4.splat(factor);
    let right = args.right + (<usize>args.first << 2), x = args.x + (<usize>(r * args.ld) << 2);
    let c: u32 = 0;
    for (; c + 4 <= cols; c += 4) {
      v128.store(x, f32x4.mul(v128.load(x), f32x4.mul(v128.load(right), factors)));
      right += 16;
      x += 16;
    }
    for (; c < cols; c++) {
      store<f32>(x, load<f32>(x) * (load<f32>(right) * factor));
      right += 4;
      x += 4;
    }
  }
}
