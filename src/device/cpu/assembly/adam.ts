// The CPU twin of shaders/adam.wgsl: one step of Adam. src/device/kernels/training/adam.ts describes the buffers. The
// work items are runs of weights.

import { AdamArgs } from "./args";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;

const BETA1: f32 = 0.9;
const ONE_MINUS_BETA1: f32 = 0.1;
const BETA2: f32 = 0.999;
const ONE_MINUS_BETA2: f32 = 0.001;
const EPS: f32 = 1e-8;

export function adam_elements(args: AdamArgs, begin: u32, count: u32): void {
  const start = <usize>begin << 2;
  const gradient = args.gradient + start, weight = args.weight + start, first = args.first + start, second = args.second + start;
  const rate = args.rate, correction = args.correction, keepsZeros = args.keeps_zeros == 1;
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    const offset = <usize>i << 2;
    const g = v128.load(gradient + offset), w = v128.load(weight + offset);
    const mean = f32x4.relaxed_madd(f32x4.splat(BETA1), v128.load(first + offset), f32x4.mul(f32x4.splat(ONE_MINUS_BETA1), g));
    const newSquare = f32x4.mul(f32x4.mul(f32x4.splat(ONE_MINUS_BETA2), g), g);
    const square = f32x4.relaxed_madd(f32x4.splat(BETA2), v128.load(second + offset), newSquare);
    v128.store(first + offset, mean);
    v128.store(second + offset, square);
    const divisor = f32x4.relaxed_madd(f32x4.splat(correction), f32x4.sqrt(square), f32x4.splat(EPS));
    const step = f32x4.div(f32x4.mul(f32x4.splat(rate), mean), divisor);
    const stays = v128.and(f32x4.eq(w, f32x4.splat(0)), i32x4.splat(keepsZeros ? -1 : 0));
    v128.store(weight + offset, v128.bitselect(w, f32x4.sub(w, step), stays));
  }
  for (; i < count; i++) {
    const offset = <usize>i << 2;
    const g = load<f32>(gradient + offset), w = load<f32>(weight + offset);
    const mean = BETA1 * load<f32>(first + offset) + ONE_MINUS_BETA1 * g;
    const square = BETA2 * load<f32>(second + offset) + ONE_MINUS_BETA2 * g * g;
    store<f32>(first + offset, mean);
    store<f32>(second + offset, square);
    if (keepsZeros && w == 0) continue;
    store<f32>(weight + offset, w - rate * mean / (correction * sqrt<f32>(square) + EPS));
  }
}
