// Twin of shaders/activate.wgsl. bias_activate sees x as one run of elements, cut into items regardless of rows; an item of
// gated_multiply is some whole rows.

import { pointer, u32At } from "./args";
import { exp4, prepare_exp, times_sigmoid4 } from "./exp";
import { ceil_divide, row_items, rows_per_item } from "./items";

const RELU: u32 = 1;
const GELU_TANH: u32 = 2;
const GELU: u32 = 3;
const SILU: u32 = 4;

const ELEMENTS_PER_ITEM: u32 = 1 << 15;

// x·Φ(x), erf by Abramowitz & Stegun 7.1.26 (1.5e-7 absolute).
// @ts-ignore: decorator
@inline function gelu4(x: v128): v128 {
  const z = f32x4.mul(f32x4.abs(x), f32x4.splat(0.70710678));
  const t = f32x4.div(f32x4.splat(1), f32x4.relaxed_madd(z, f32x4.splat(0.3275911), f32x4.splat(1)));
  let p = f32x4.relaxed_madd(t, f32x4.splat(1.061405429), f32x4.splat(-1.453152027));
  p = f32x4.relaxed_madd(p, t, f32x4.splat(1.421413741));
  p = f32x4.relaxed_madd(p, t, f32x4.splat(-0.284496736));
  p = f32x4.relaxed_madd(p, t, f32x4.splat(0.254829592));
  p = f32x4.mul(f32x4.mul(p, t), exp4(f32x4.neg(f32x4.mul(z, z))));
  const tail = f32x4.mul(f32x4.mul(x, f32x4.splat(0.5)), p);
  return v128.bitselect(tail, f32x4.sub(x, tail), f32x4.lt(x, f32x4.splat(0)));
}

// @ts-ignore: decorator
@inline function activate4(x: v128, activation: u32): v128 {
  if (activation == RELU) return f32x4.pmax(x, f32x4.splat(0));
  if (activation == GELU_TANH) {
    // (1 + tanh u)/2 = σ(2u), without the cancellation; 2u = 2√(2/π)·(x + 0.044715 x³).
    const cubic = f32x4.mul(f32x4.mul(x, x), f32x4.mul(x, f32x4.splat(0.044715)));
    return times_sigmoid4(x, f32x4.mul(f32x4.add(x, cubic), f32x4.splat(1.5957691216)));
  }
  if (activation == GELU) return gelu4(x);
  if (activation == SILU) return times_sigmoid4(x, x);
  return x;
}

// Part of one row: x and bias at the same column.
function activate_run(x: usize, bias: usize, count: u32, hasBias: bool, activation: u32): void {
  let c: u32 = 0;
  for (; c + 4 <= count; c += 4) {
    const at = <usize>c << 2;
    let four = v128.load(x + at);
    if (hasBias) four = f32x4.add(four, v128.load(bias + at));
    v128.store(x + at, activate4(four, activation));
  }
  for (; c < count; c++) {
    const at = <usize>c << 2;
    let one = load<f32>(x + at);
    if (hasBias) one += load<f32>(bias + at);
    store<f32>(x + at, f32x4.extract_lane(activate4(f32x4.splat(one), activation), 0));
  }
}

export function bias_activate_items(args: usize): i32 {
  return <i32>ceil_divide(u32At(args, 2) * u32At(args, 3), ELEMENTS_PER_ITEM);
}

export function bias_activate(args: usize, item: i32): void {
  const bias = pointer(args, 0), x = pointer(args, 1);
  prepare_exp();
  const cols = u32At(args, 3);
  const total = u32At(args, 2) * cols;
  let i = <u32>item * ELEMENTS_PER_ITEM;
  const end = i + min<u32>(ELEMENTS_PER_ITEM, total - i);
  let c = i % cols;
  while (i < end) {
    const count = min<u32>(cols - c, end - i);
    activate_run(x + (<usize>i << 2), bias + (<usize>c << 2), count, u32At(args, 4) == 1, u32At(args, 5));
    i += count;
    c = 0;
  }
}

export function gated_multiply_items(args: usize): i32 {
  return row_items(u32At(args, 3), u32At(args, 4), ELEMENTS_PER_ITEM);
}

export function gated_multiply(args: usize, item: i32): void {
  prepare_exp();
  const rows = u32At(args, 3), cols = u32At(args, 4), activation = u32At(args, 9);
  const gateStride = <usize>u32At(args, 6) << 2, upStride = <usize>u32At(args, 8) << 2, stride = <usize>cols << 2;
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = <u32>item * step;
  const end = min<u32>(rows, first + step);
  let gate = pointer(args, 0) + (<usize>u32At(args, 5) << 2) + <usize>first * gateStride;
  let up = pointer(args, 1) + (<usize>u32At(args, 7) << 2) + <usize>first * upStride;
  let y = pointer(args, 2) + <usize>first * stride;
  for (let r = first; r < end; r++) {
    gate_row(gate, up, y, cols, activation);
    gate += gateStride;
    up += upStride;
    y += stride;
  }
}

function gate_row(gate: usize, up: usize, y: usize, cols: u32, activation: u32): void {
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const at = <usize>c << 2;
    v128.store(y + at, f32x4.mul(activate4(v128.load(gate + at), activation), v128.load(up + at)));
  }
  for (; c < cols; c++) {
    const at = <usize>c << 2;
    const factor = f32x4.extract_lane(activate4(f32x4.splat(load<f32>(gate + at)), activation), 0);
    store<f32>(y + at, factor * load<f32>(up + at));
  }
}
