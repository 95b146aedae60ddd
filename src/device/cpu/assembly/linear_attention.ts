// The CPU twin of shaders/linear_attention.wgsl: the recurrence of linear attention. A work item is one head of one
// window, whose state is updated row by row.

import { LinearAttentionArgs } from "./args";
import { scratch } from "./shared/instance";
import { decay, inverse_length, load_gates, strength } from "./shared/linear_attention";
import { add_scaled } from "./shared/row_operations";

export function linear_attention_items(args: LinearAttentionArgs): u32 {
  return args.batch * args.heads;
}

export function linear_attention(args: LinearAttentionArgs, item: u32): void {
  const heads = args.heads, keyHeads = args.key_heads, keyDim = args.key_dim, valueDim = args.value_dim;
  const head = item % heads, keyHead = head / (heads / keyHeads);
  const valueSize = heads * valueDim, rowSize = 2 * keyHeads * keyDim + valueSize;
  const stateBytes = <usize>keyDim * <usize>valueDim << 2, stateStride = <usize>valueDim << 2;
  const states = args.keeps_states ? <usize>(args.batch * heads) * stateBytes : 0; // between consecutive tokens
  const change = scratch(); // (valueDim): the factors of k

  for (let t: u32 = 0; t < args.tokens; t++) {
    const row = args.first_row + item / heads * args.window_rows + t;
    const start = args.qkv + (<usize>row * <usize>rowSize << 2);
    const q = start + (<usize>(args.q_offset + keyHead * keyDim) << 2);
    const k = start + (<usize>(args.k_offset + keyHead * keyDim) << 2);
    const v = start + (<usize>(args.v_offset + head * valueDim) << 2);
    const out = args.out + (<usize>row * <usize>valueSize + <usize>(head * valueDim) << 2);
    const state = args.state + <usize>item * stateBytes + <usize>t * states;
    load_gates(
      args.gates, args.head_vectors, args.rows, heads, row, head, args.min_step, args.max_step, args.is_delta,
    );

    let queryScale: f32 = 1, valueScale = strength, skip: f32 = 0;
    memory.fill(change, 0, stateStride);
    if (args.is_delta) {
      const keyScale = inverse_length(k, keyDim);
      queryScale = inverse_length(q, keyDim) / sqrt<f32>(<f32>keyDim);
      valueScale = strength * keyScale;
      for (let i: usize = 0; i < <usize>keyDim; i++) {
        const factor = -valueScale * decay * keyScale * load<f32>(k + (i << 2));
        add_scaled(change, state + i * stateStride, factor, valueDim);
      }
    } else {
      skip = load<f32>(args.head_vectors + (<usize>(2 * heads + head) << 2));
    }
    add_scaled(change, v, valueScale, valueDim);
    memory.fill(out, 0, stateStride);
    add_scaled(out, v, skip, valueDim);
    for (let i: usize = 0; i < <usize>keyDim; i++) {
      const key = load<f32>(k + (i << 2)), query = load<f32>(q + (i << 2)) * queryScale;
      const before = state + i * stateStride;
      update_row(before, before + states, change, out, valueDim, decay, key, query);
    }
  }
}

// after ← decay·before + key·change, and then out ← out + query·after.
function update_row(
  before: usize,
  after: usize,
  change: usize,
  out: usize,
  count: u32,
  decay: f32,
  key: f32,
  query: f32,
): void {
  const decays = f32x4.splat(decay), keys = f32x4.splat(key), queries = f32x4.splat(query), end = <usize>count << 2;
  let j: usize = 0;
  for (; j + 16 <= end; j += 16) {
    const updated = f32x4.relaxed_madd(keys, v128.load(change + j), f32x4.mul(decays, v128.load(before + j)));
    v128.store(after + j, updated);
    v128.store(out + j, f32x4.relaxed_madd(queries, updated, v128.load(out + j)));
  }
  for (; j < end; j += 4) {
    const updated = decay * load<f32>(before + j) + key * load<f32>(change + j);
    store<f32>(after + j, updated);
    store<f32>(out + j, load<f32>(out + j) + query * updated);
  }
}
