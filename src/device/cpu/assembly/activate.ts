// The CPU twins of the kernels in shaders/activate.wgsl. A work item is a run of elements, which may begin and end
// inside a row. In gated_multiply, it is some whole rows.
//
// The loops handle eight elements at a time, because an engine can pair the instructions of two vectors whose stores are
// adjacent statements. A branch between them would prevent this, so the frequent activations have loops of their own.

import { BiasActivateArgs, ClampedGateArgs, GatedMultiplyArgs, SoftCapArgs } from "./args";
import { activate4, GELU, GELU_TANH, SILU } from "./shared/activation";
import { round_output } from "./shared/float16";
import { cap4, times_sigmoid4 } from "./shared/exp";
import { ceil_divide } from "./shared/items";
import { load_lanes } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;

// The ways to use the second operand.
const GATE: u32 = 0;
const BIAS: u32 = 1;
const NONE: u32 = 2;

// Over `count` elements of a row, y ← activation(x)·other as a GATE, activation(x + other) with a BIAS, and otherwise
// activation(x).
function activate_run(x: usize, other: usize, y: usize, count: u32, use: u32, activation: u32): void {
  if (use == NONE) activate_each(x, other, y, count, NONE, activation);
  else if (use == GATE && activation == SILU) activate_each(x, other, y, count, GATE, SILU);
  else if (use == GATE && activation == GELU_TANH) activate_each(x, other, y, count, GATE, GELU_TANH);
  else if (use == GATE) activate_each(x, other, y, count, GATE, activation);
  else if (activation == GELU) activate_each(x, other, y, count, BIAS, GELU);
  else if (activation == GELU_TANH) activate_each(x, other, y, count, BIAS, GELU_TANH);
  else activate_each(x, other, y, count, BIAS, activation);
}

@inline function activate_each(x: usize, other: usize, y: usize, count: u32, use: u32, activation: u32): void {
  let i: usize = 0;
  const end = <usize>count << 2;
  for (; i + 32 <= end; i += 32) {
    const left = activated(x + i, other + i, use, activation, false);
    const right = activated(x + i + 16, other + i + 16, use, activation, false);
    v128.store(y + i, left);
    v128.store(y + i, right, 16);
  }
  for (; i < end; i += 4) store<f32>(y + i, f32x4.extract_lane(activated(x + i, other + i, use, activation, true), 0));
}

@inline function activated(x: usize, other: usize, use: u32, activation: u32, isSingle: bool): v128 {
  const values = load_lanes(x, isSingle);
  if (use == GATE) return f32x4.mul(activate4(values, activation), load_lanes(other, isSingle));
  return activate4(use == BIAS ? f32x4.add(values, load_lanes(other, isSingle)) : values, activation);
}

export function bias_activate_items(args: BiasActivateArgs): u32 {
  return ceil_divide(args.rows * args.cols, ELEMENTS_PER_ITEM);
}

export function bias_activate(args: BiasActivateArgs, item: u32): void {
  const bias = args.bias, x = args.x;
  const cols = args.cols;
  const total = args.rows * cols;
  let i = item * ELEMENTS_PER_ITEM;
  const end = i + min<u32>(ELEMENTS_PER_ITEM, total - i);
  let c = i % cols;
  while (i < end) {
    const count = min<u32>(cols - c, end - i);
    const row = x + (<usize>i << 2);
    activate_run(row, bias + (<usize>c << 2), row, count, args.has_bias == 1 ? BIAS : NONE, args.activation);
    round_output(x, args.x_rounded, i, count);
    i += count;
    c = 0;
  }
}

export function gated_multiply_rows(args: GatedMultiplyArgs, first: u32, end: u32): void {
  const cols = args.cols, activation = args.activation;
  const gateStride = <usize>args.ld_gate << 2, upStride = <usize>args.ld_up << 2, stride = <usize>cols << 2;
  let gate = args.gate + (<usize>args.gate_offset << 2) + <usize>first * gateStride;
  let up = args.up + (<usize>args.up_offset << 2) + <usize>first * upStride;
  let y = args.y + <usize>first * stride;
  for (let r = first; r < end; r++) {
    activate_run(gate, up, y, cols, GATE, activation);
    round_output(args.y, args.y_rounded, r * cols, cols);
    gate += gateStride;
    up += upStride;
    y += stride;
  }
}

export function clamped_gate_elements(args: ClampedGateArgs, first: u32, count: u32): void {
  const alpha = args.alpha, limit = args.limit;
  const pairs = args.gate_up + (<usize>first << 3), y = args.y + (<usize>first << 2);
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    const low = v128.load(pairs + (i << 3)), high = v128.load(pairs + (i << 3), 16);
    const gates = v128.shuffle<f32>(low, high, 0, 2, 4, 6), ups = v128.shuffle<f32>(low, high, 1, 3, 5, 7);
    v128.store(y + (i << 2), clamped_gate4(gates, ups, alpha, limit));
  }
  for (; i < count; i++) {
    const gate = v128.load32_splat(pairs + (i << 3)), up = v128.load32_splat(pairs + (i << 3), 4);
    store<f32>(y + (i << 2), f32x4.extract_lane(clamped_gate4(gate, up, alpha, limit), 0));
  }
  round_output(args.y, args.y_rounded, first, count);
}

@inline function clamped_gate4(gate: v128, up: v128, alpha: f32, limit: f32): v128 {
  const limited = f32x4.min(gate, f32x4.splat(limit)), scaled = f32x4.mul(f32x4.splat(alpha), limited);
  const clamped = f32x4.max(f32x4.min(up, f32x4.splat(limit)), f32x4.splat(-limit));
  return f32x4.mul(f32x4.add(clamped, f32x4.splat(1)), times_sigmoid4(limited, scaled));
}

export function soft_cap_elements(args: SoftCapArgs, first: u32, count: u32): void {
  const caps = f32x4.splat(args.cap);
  let x = args.x + (<usize>first << 2), i: u32 = 0;
  for (; i + 8 <= count; i += 8) {
    const left = cap4(v128.load(x), caps), right = cap4(v128.load(x, 16), caps);
    v128.store(x, left);
    v128.store(x, right, 16);
    x += 32;
  }
  for (; i < count; i++) {
    store<f32>(x, f32x4.extract_lane(cap4(v128.load32_splat(x), caps), 0));
    x += 4;
  }
}
