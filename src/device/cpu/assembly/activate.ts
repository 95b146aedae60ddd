// The CPU twins of the kernels in shaders/activate.wgsl: they compute the same. bias_activate adds a bias and applies the
// activation function in place. Its work items, which threads run in parallel, are runs of elements that may begin and end
// inside a row. gated_multiply multiplies `up` by the activated `gate`. Its work items are whole rows. soft_cap limits the
// elements of a matrix, and its work items are runs of elements.

import { exp4, prepare_exp, tanh4, times_sigmoid4 } from "./shared/exp";
import { row_items, rows_per_item, ceil_divide } from "./shared/items";

// The values of the argument `activation`. They must equal ACTIVATION_CODE in src/device/kernels/forward/activate.ts.
const RELU: u32 = 1;
const GELU_TANH: u32 = 2;
const GELU: u32 = 3;
const SILU: u32 = 4;

const ELEMENTS_PER_ITEM: u32 = 1 << 15;

@unmanaged class BiasActivateArgs {
  bias: usize;
  x: usize;
  rows: u32;
  cols: u32;
  has_bias: u32;
  activation: u32;
}

@unmanaged class GatedMultiplyArgs {
  gate: usize;
  up: usize;
  y: usize;
  rows: u32;
  cols: u32;
  gate_offset: u32;
  ld_gate: u32;
  up_offset: u32;
  ld_up: u32;
  activation: u32;
}

@unmanaged class SoftCapArgs {
  x: usize;
  count: u32;
  cap: f32;
}

// Returns GELU, x·Φ(x), where Φ is the normal distribution function. Φ is computed from erf, which formula 7.1.26 of Abramowitz
// & Stegun approximates with an absolute error of 1.5e-7.
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
    // GELU multiplies x by (1 + tanh u)/2 with u = √(2/π)·(x + 0.044715·x³). This factor equals σ(2u), where σ is the logistic
    // sigmoid. σ(2u) is computed because 1 + tanh u would cancel if tanh u is near −1.
    const cubic = f32x4.mul(f32x4.mul(x, x), f32x4.mul(x, f32x4.splat(0.044715)));
    return times_sigmoid4(x, f32x4.mul(f32x4.add(x, cubic), f32x4.splat(1.5957691216)));
  }
  if (activation == GELU) return gelu4(x);
  if (activation == SILU) return times_sigmoid4(x, x);
  return x;
}

// Activates `count` elements of one row in place; `x` and `bias` point to the same column.
function activate_run(x: usize, bias: usize, count: u32, hasBias: bool, activation: u32): void {
  let c: u32 = 0;
  for (; c + 4 <= count; c += 4) {
    const offset = <usize>c << 2;
    let four = v128.load(x + offset);
    if (hasBias) four = f32x4.add(four, v128.load(bias + offset));
    v128.store(x + offset, activate4(four, activation));
  }
  for (; c < count; c++) {
    const offset = <usize>c << 2;
    let one = load<f32>(x + offset);
    if (hasBias) one += load<f32>(bias + offset);
    store<f32>(x + offset, f32x4.extract_lane(activate4(f32x4.splat(one), activation), 0));
  }
}

export function bias_activate_items(args: BiasActivateArgs): u32 {
  return ceil_divide(args.rows * args.cols, ELEMENTS_PER_ITEM);
}

export function bias_activate(args: BiasActivateArgs, item: u32): void {
  const bias = args.bias, x = args.x;
  prepare_exp();
  const cols = args.cols;
  const total = args.rows * cols;
  let i = item * ELEMENTS_PER_ITEM;
  const end = i + min<u32>(ELEMENTS_PER_ITEM, total - i);
  let c = i % cols;
  while (i < end) {
    const count = min<u32>(cols - c, end - i);
    activate_run(x + (<usize>i << 2), bias + (<usize>c << 2), count, args.has_bias == 1, args.activation);
    i += count;
    c = 0;
  }
}

export function gated_multiply_items(args: GatedMultiplyArgs): u32 {
  return row_items(args.rows, args.cols, ELEMENTS_PER_ITEM);
}

export function gated_multiply(args: GatedMultiplyArgs, item: u32): void {
  prepare_exp();
  const rows = args.rows, cols = args.cols, activation = args.activation;
  const gateStride = <usize>args.ld_gate << 2, upStride = <usize>args.ld_up << 2, stride = <usize>cols << 2;
  const step = rows_per_item(cols, ELEMENTS_PER_ITEM);
  const first = item * step, end = min<u32>(rows, first + step);
  let gate = args.gate + (<usize>args.gate_offset << 2) + <usize>first * gateStride;
  let up = args.up + (<usize>args.up_offset << 2) + <usize>first * upStride;
  let y = args.y + <usize>first * stride;
  for (let r = first; r < end; r++) {
    gate_row(gate, up, y, cols, activation);
    gate += gateStride;
    up += upStride;
    y += stride;
  }
}

// y ← activation(gate)·up over one row.
function gate_row(gate: usize, up: usize, y: usize, cols: u32, activation: u32): void {
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2;
    v128.store(y + offset, f32x4.mul(activate4(v128.load(gate + offset), activation), v128.load(up + offset)));
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2;
    const factor = f32x4.extract_lane(activate4(f32x4.splat(load<f32>(gate + offset)), activation), 0);
    store<f32>(y + offset, factor * load<f32>(up + offset));
  }
}

export function soft_cap_items(args: SoftCapArgs): u32 {
  return ceil_divide(args.count, ELEMENTS_PER_ITEM);
}

export function soft_cap(args: SoftCapArgs, item: u32): void {
  prepare_exp();
  const caps = f32x4.splat(args.cap);
  const first = item * ELEMENTS_PER_ITEM, count = min<u32>(ELEMENTS_PER_ITEM, args.count - first);
  const x = args.x + (<usize>first << 2);
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    const offset = <usize>i << 2;
    v128.store(x + offset, f32x4.mul(caps, tanh4(f32x4.div(v128.load(x + offset), caps))));
  }
  for (; i < count; i++) {
    const offset = <usize>i << 2;
    const quotient = f32x4.div(f32x4.splat(load<f32>(x + offset)), caps);
    store<f32>(x + offset, f32x4.extract_lane(f32x4.mul(caps, tanh4(quotient)), 0));
  }
}
