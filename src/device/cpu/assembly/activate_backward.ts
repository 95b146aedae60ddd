// The CPU twins of the kernels in shaders/activate_backward.wgsl. src/device/kernels/training/activate_backward.ts
// describes the buffers. A work item is some whole rows in gate_backward, and a run of elements in the other kernels.

import { ActivateBackwardArgs, ClampedGateBackwardArgs, GateBackwardArgs } from "./args";
import { activate4, erfc4, GELU, GELU_TANH, RELU, RELU2, SIGMOID, SILU } from "./shared/activation";
import { exp4, times_sigmoid4 } from "./shared/exp";
import { load_lanes } from "./shared/lanes";

export const ELEMENTS_PER_ITEM: u32 = 1 << 15;

// Returns the derivative of x·σ(z), where z is a function of x with the derivative `slope`. 1 − σ(z) is computed as
// exp(−z)·σ(z), because the difference would cancel for a large z.
@inline function times_sigmoid_derivative4(x: v128, z: v128, slope: v128): v128 {
  const exponential = exp4(f32x4.neg(z));
  const sigmoid = f32x4.div(f32x4.splat(1), f32x4.add(f32x4.splat(1), exponential));
  const rest = f32x4.mul(f32x4.mul(exponential, sigmoid), sigmoid);
  return f32x4.add(sigmoid, f32x4.mul(f32x4.mul(x, slope), rest));
}

@inline function derivative4(x: v128, activation: u32): v128 {
  const one = f32x4.splat(1);
  if (activation == RELU) return v128.and(one, f32x4.gt(x, f32x4.splat(0)));
  if (activation == GELU_TANH) {
    const square = f32x4.mul(x, x), factor = f32x4.splat(1.5957691216);
    const cubic = f32x4.mul(f32x4.mul(square, x), f32x4.splat(0.044715));
    const slope = f32x4.mul(factor, f32x4.relaxed_madd(square, f32x4.splat(0.134145), one));
    return times_sigmoid_derivative4(x, f32x4.mul(f32x4.add(x, cubic), factor), slope);
  }
  if (activation == GELU) {
    // Φ(x) + x·φ(x), where Φ is the distribution function of the standard normal distribution, and φ its density.
    const z = f32x4.mul(f32x4.abs(x), f32x4.splat(0.70710678));
    const tail = f32x4.mul(f32x4.splat(0.5), erfc4(z));
    const below = v128.bitselect(tail, f32x4.sub(one, tail), f32x4.lt(x, f32x4.splat(0)));
    const density = f32x4.mul(f32x4.splat(0.39894228), exp4(f32x4.neg(f32x4.mul(z, z))));
    return f32x4.relaxed_madd(x, density, below);
  }
  if (activation == SILU) return times_sigmoid_derivative4(x, x, one);
  if (activation == SIGMOID) {
    const exponential = exp4(f32x4.neg(x)), sigmoid = f32x4.div(one, f32x4.add(one, exponential));
    return f32x4.mul(f32x4.mul(exponential, sigmoid), sigmoid);
  }
  if (activation == RELU2) return f32x4.mul(f32x4.splat(2), f32x4.pmax(x, f32x4.splat(0)));
  return one;
}

export function activate_backward_elements(args: ActivateBackwardArgs, first: u32, count: u32): void {
  const activation = args.activation, end = args.x + (<usize>(first + count) << 2);
  let x = args.x + (<usize>first << 2), gradient = args.gradient + (<usize>first << 2);
  for (; x + 16 <= end; x += 16, gradient += 16) v128.store(gradient, times_derivative(gradient, x, activation, false));
  for (; x < end; x += 4, gradient += 4) store<f32>(gradient, f32x4.extract_lane(times_derivative(gradient, x, activation, true), 0));
}

@inline function times_derivative(gradient: usize, x: usize, activation: u32, isSingle: bool): v128 {
  return f32x4.mul(load_lanes(gradient, isSingle), derivative4(load_lanes(x, isSingle), activation));
}

export function clamped_gate_backward_elements(args: ClampedGateBackwardArgs, first: u32, count: u32): void {
  const alpha = args.alpha, limit = args.limit;
  const pairs = args.gate_up + (<usize>first << 3), gradient = args.gradient + (<usize>first << 2);
  const target = args.target + (<usize>first << 3);
  let i: u32 = 0;
  for (; i + 4 <= count; i += 4) {
    const at = <usize>i << 3, g = v128.load(gradient + (i << 2));
    const low = v128.load(pairs + at), high = v128.load(pairs + at, 16);
    const gates = v128.shuffle<f32>(low, high, 0, 2, 4, 6), ups = v128.shuffle<f32>(low, high, 1, 3, 5, 7);
    const ofGates = f32x4.mul(g, gate_slope4(gates, ups, alpha, limit));
    const ofUps = f32x4.mul(g, up_slope4(gates, ups, alpha, limit));
    const lowSum = f32x4.add(v128.load(target + at), v128.shuffle<f32>(ofGates, ofUps, 0, 4, 1, 5));
    const highSum = f32x4.add(v128.load(target + at, 16), v128.shuffle<f32>(ofGates, ofUps, 2, 6, 3, 7));
    v128.store(target + at, lowSum);
    v128.store(target + at, highSum, 16);
  }
  for (; i < count; i++) {
    const at = <usize>i << 3, g = load<f32>(gradient + (i << 2));
    const gate = v128.load32_splat(pairs + at), up = v128.load32_splat(pairs + at, 4);
    const ofGate = g * f32x4.extract_lane(gate_slope4(gate, up, alpha, limit), 0);
    const ofUp = g * f32x4.extract_lane(up_slope4(gate, up, alpha, limit), 0);
    store<f32>(target + at, load<f32>(target + at) + ofGate);
    store<f32>(target + at, load<f32>(target + at, 4) + ofUp, 4);
  }
}

// The derivative of the result of clamped_gate with respect to the gate.
@inline function gate_slope4(gate: v128, up: v128, alpha: f32, limit: f32): v128 {
  const alphas = f32x4.splat(alpha), limits = f32x4.splat(limit);
  const clamped = f32x4.max(f32x4.min(up, limits), f32x4.neg(limits));
  const slope = times_sigmoid_derivative4(gate, f32x4.mul(alphas, gate), alphas);
  return v128.and(f32x4.mul(f32x4.add(clamped, f32x4.splat(1)), slope), f32x4.le(gate, limits));
}

// The derivative with respect to up.
@inline function up_slope4(gate: v128, up: v128, alpha: f32, limit: f32): v128 {
  const limits = f32x4.splat(limit), limited = f32x4.min(gate, limits);
  return v128.and(times_sigmoid4(limited, f32x4.mul(f32x4.splat(alpha), limited)), f32x4.le(f32x4.abs(up), limits));
}

export function gate_backward_rows(args: GateBackwardArgs, first: u32, end: u32): void {
  const cols = args.cols, activation = args.activation, ofUp = args.of_up == 1;
  for (let r = first; r < end; r++) {
    const gateAt = <usize>(args.gate_offset + r * args.ld_gate) << 2, upAt = <usize>(args.up_offset + r * args.ld_up) << 2;
    const gradient = args.gradient + (<usize>(r * cols) << 2), target = args.target + (ofUp ? upAt : gateAt);
    gate_backward_row(args.gate + gateAt, args.up + upAt, gradient, target, cols, activation, ofUp);
  }
}

// Adds the gradient of `up` or of `gate` to one row of `target`.
function gate_backward_row(gate: usize, up: usize, gradient: usize, target: usize, cols: u32, activation: u32, ofUp: bool): void {
  let c: u32 = 0;
  for (; c + 4 <= cols; c += 4) {
    const offset = <usize>c << 2, x = v128.load(gate + offset);
    const factor = ofUp ? activate4(x, activation) : f32x4.mul(derivative4(x, activation), v128.load(up + offset));
    const sum = f32x4.relaxed_madd(factor, v128.load(gradient + offset), v128.load(target + offset));
    v128.store(target + offset, sum);
  }
  for (; c < cols; c++) {
    const offset = <usize>c << 2, x = f32x4.splat(load<f32>(gate + offset));
    const factor = ofUp
      ? f32x4.extract_lane(activate4(x, activation), 0)
      : f32x4.extract_lane(derivative4(x, activation), 0) * load<f32>(up + offset);
    store<f32>(target + offset, load<f32>(target + offset) + factor * load<f32>(gradient + offset));
  }
}
