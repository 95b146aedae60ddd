// The CPU twin of shaders/linear_attention.wgsl: the recurrence of linear attention. A work item is one head of one
// window, whose state is updated row by row.

import { LinearAttentionArgs } from "./args";
import { exp4, log_f64, prepare_exp, times_sigmoid4 } from "./shared/exp";
import { scratch } from "./shared/instance";

// The number that is added to the squared length of a query or key.
const EPSILON: f32 = 1e-6;

export function linear_attention_items(args: LinearAttentionArgs): u32 {
  return args.batch * args.heads;
}

export function linear_attention(args: LinearAttentionArgs, item: u32): void {
  prepare_exp();
  const heads = args.heads, keyHeads = args.key_heads, keyDim = args.key_dim, valueDim = args.value_dim;
  const head = item % heads, sharedBy = heads / keyHeads, keyHead = head / sharedBy;
  const gateColumn = keyHead * args.gate_stride + head % sharedBy;
  const valueSize = heads * valueDim, rowSize = 2 * keyHeads * keyDim + valueSize;
  const state = args.state + (<usize>item * <usize>(keyDim * valueDim) << 2), stateStride = <usize>valueDim << 2;
  const rate = -exp_of(load<f32>(args.a_log + (<usize>head << 2)));
  const bias = load<f32>(args.dt_bias + (<usize>head << 2));
  const change = scratch(); // (valueDim): the factors of k

  for (let t: u32 = 0; t < args.tokens; t++) {
    const row = <usize>(args.first_row + item / heads * args.window_rows + t);
    const start = args.qkv + (row * <usize>rowSize << 2);
    const q = start + (<usize>(args.q_offset + keyHead * keyDim) << 2);
    const k = start + (<usize>(args.k_offset + keyHead * keyDim) << 2);
    const v = start + (<usize>(args.v_offset + head * valueDim) << 2);
    const a = load<f32>(args.a + (<usize>(args.a_offset + gateColumn) + row * <usize>args.lda << 2));
    const step = min<f32>(max<f32>(softplus(a + bias), args.min_step), args.max_step);
    const decay = exp_of(rate * step);
    const out = args.out + (row * <usize>valueSize + <usize>(head * valueDim) << 2);

    let queryScale: f32 = 1, valueScale = step, skip: f32 = 0;
    memory.fill(change, 0, stateStride);
    if (args.is_delta) {
      const b = load<f32>(args.b + (<usize>(args.b_offset + gateColumn) + row * <usize>args.ldb << 2));
      const beta = f32x4.extract_lane(times_sigmoid4(f32x4.splat(1), f32x4.splat(b)), 0);
      const keyScale = inverse_length(k, keyDim);
      queryScale = inverse_length(q, keyDim) / sqrt<f32>(<f32>keyDim);
      valueScale = beta * keyScale;
      for (let i: usize = 0; i < <usize>keyDim; i++) {
        const factor = -valueScale * decay * keyScale * load<f32>(k + (i << 2));
        add_scaled(change, state + i * stateStride, factor, valueDim);
      }
    } else {
      skip = load<f32>(args.skip + (<usize>head << 2));
    }
    add_scaled(change, v, valueScale, valueDim);
    memory.fill(out, 0, stateStride);
    add_scaled(out, v, skip, valueDim);
    for (let i: usize = 0; i < <usize>keyDim; i++) {
      const key = load<f32>(k + (i << 2)), query = load<f32>(q + (i << 2)) * queryScale;
      update_row(state + i * stateStride, change, out, valueDim, decay, key, query);
    }
  }
}

function exp_of(x: f32): f32 {
  return f32x4.extract_lane(exp4(f32x4.splat(x)), 0);
}

// ln(1 + e^x), in a form in which exp does not overflow.
function softplus(x: f32): f32 {
  return max<f32>(x, 0) + <f32>log_f64(1 + <f64>exp_of(-abs<f32>(x)));
}

function inverse_length(x: usize, count: u32): f32 {
  let squares: f32 = 0;
  for (let i: usize = 0; i < <usize>count; i++) squares += load<f32>(x + (i << 2)) * load<f32>(x + (i << 2));
  return 1 / sqrt<f32>(squares + EPSILON);
}

// target ← target + factor·row.
function add_scaled(target: usize, row: usize, factor: f32, count: u32): void {
  const factors = f32x4.splat(factor), end = <usize>count << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    v128.store(target + j, f32x4.relaxed_madd(factors, v128.load(row + j), v128.load(target + j)));
  }
  for (; j < end; j += 4) store<f32>(target + j, load<f32>(target + j) + factor * load<f32>(row + j));
}

// row ← decay·row + key·change, and then out ← out + query·row.
function update_row(row: usize, change: usize, out: usize, count: u32, decay: f32, key: f32, query: f32): void {
  const decays = f32x4.splat(decay), keys = f32x4.splat(key), queries = f32x4.splat(query), end = <usize>count << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    const updated = f32x4.relaxed_madd(keys, v128.load(change + j), f32x4.mul(decays, v128.load(row + j)));
    v128.store(row + j, updated);
    v128.store(out + j, f32x4.relaxed_madd(queries, updated, v128.load(out + j)));
  }
  for (; j < end; j += 4) {
    const updated = decay * load<f32>(row + j) + key * load<f32>(change + j);
    store<f32>(row + j, updated);
    store<f32>(out + j, load<f32>(out + j) + query * updated);
  }
}
