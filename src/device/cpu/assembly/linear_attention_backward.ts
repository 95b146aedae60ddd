// The CPU twins of shaders/linear_attention_backward.wgsl.

import { LinearAttentionInputsBackwardArgs, LinearAttentionStatesBackwardArgs } from "./args";
import { scratch } from "./shared/instance";
import { decay, inverse_length, load_gates, rate, slope, strength } from "./shared/linear_attention";
import { add_scaled, dot } from "./shared/row_operations";

export function linear_attention_states_backward_items(args: LinearAttentionStatesBackwardArgs): u32 {
  return args.batch * args.heads;
}

// A work item is one head of one window.
export function linear_attention_states_backward(args: LinearAttentionStatesBackwardArgs, item: u32): void {
  const heads = args.heads, keyHeads = args.key_heads, keyDim = args.key_dim, valueDim = args.value_dim;
  const head = item % heads, keyHead = head / (heads / keyHeads), rowBytes = <usize>valueDim << 2;
  const valueSize = heads * valueDim, rowSize = 2 * keyHeads * keyDim + valueSize;
  const stateBytes = <usize>keyDim * rowBytes, states = <usize>(args.batch * heads) * stateBytes;
  const product = scratch(); // (valueDim): Dᵀ·k

  for (let t = args.tokens; t-- > 0;) {
    const row = args.first_row + item / heads * args.window_rows + t;
    const start = <usize>row * <usize>rowSize << 2;
    const q = args.qkv + start + (<usize>(args.q_offset + keyHead * keyDim) << 2);
    const k = args.qkv + start + (<usize>(args.k_offset + keyHead * keyDim) << 2);
    const valueGradient = args.d_qkv + start + (<usize>(args.v_offset + head * valueDim) << 2);
    const gradient = args.d_out + (<usize>row * <usize>valueSize + <usize>(head * valueDim) << 2);
    const before = args.state_gradients + <usize>item * stateBytes + <usize>t * states;
    const after = before + states;
    load_gates(
      args.gates, args.head_vectors, args.rows, heads, row, head, args.min_step, args.max_step, args.is_delta,
    );
    let queryScale: f32 = 1, keyScale: f32 = 1;
    if (args.is_delta) {
      queryScale = inverse_length(q, keyDim) / sqrt<f32>(<f32>keyDim);
      keyScale = inverse_length(k, keyDim);
    } else {
      add_scaled(valueGradient, gradient, load<f32>(args.head_vectors + (<usize>(2 * heads + head) << 2)), valueDim);
    }
    memory.fill(product, 0, rowBytes);
    for (let i: usize = 0; i < <usize>keyDim; i++) {
      add_scaled(after + i * rowBytes, gradient, queryScale * load<f32>(q + (i << 2)), valueDim);
      add_scaled(product, after + i * rowBytes, keyScale * load<f32>(k + (i << 2)), valueDim);
    }
    add_scaled(valueGradient, product, strength, valueDim);
    memory.fill(before, 0, stateBytes);
    for (let i: usize = 0; i < <usize>keyDim; i++) {
      add_scaled(before + i * rowBytes, after + i * rowBytes, decay, valueDim);
      if (args.is_delta) {
        const factor = -decay * strength * keyScale * load<f32>(k + (i << 2));
        add_scaled(before + i * rowBytes, product, factor, valueDim);
      }
    }
  }
}

export function linear_attention_inputs_backward_items(args: LinearAttentionInputsBackwardArgs): u32 {
  return args.batch * args.tokens * args.key_heads;
}

// A work item is the heads of one token that share a key.
export function linear_attention_inputs_backward(args: LinearAttentionInputsBackwardArgs, item: u32): void {
  const heads = args.heads, keyHeads = args.key_heads, keyDim = args.key_dim, valueDim = args.value_dim;
  const keyHead = item % keyHeads, t = item / keyHeads % args.tokens, window = item / (keyHeads * args.tokens);
  const row = args.first_row + window * args.window_rows + t, sharedBy = heads / keyHeads;
  const valueSize = heads * valueDim, rowSize = 2 * keyHeads * keyDim + valueSize;
  const keyBytes = <usize>keyDim << 2, rowBytes = <usize>valueDim << 2;
  const stateBytes = <usize>keyDim * rowBytes, states = <usize>(args.batch * heads) * stateBytes;
  const start = <usize>row * <usize>rowSize << 2;
  const queries = start + (<usize>(args.q_offset + keyHead * keyDim) << 2);
  const keys = start + (<usize>(args.k_offset + keyHead * keyDim) << 2);
  const k = args.qkv + keys, isDelta: bool = args.is_delta == 1;
  const queryScale: f32 = isDelta ? inverse_length(args.qkv + queries, keyDim) : 1;
  const keyScale: f32 = isDelta ? inverse_length(k, keyDim) : 1;
  const queryFactor: f32 = isDelta ? 1 / sqrt<f32>(<f32>keyDim) : 1;
  // The gradients of the query and the key with their factors, then Dᵀ·k, and then Sᵀ·k, which becomes v − g·Sᵀ·k.
  const queryGradient = scratch(), keyGradient = queryGradient + keyBytes;
  const products = keyGradient + keyBytes, rest = products + rowBytes;
  memory.fill(queryGradient, 0, 2 * keyBytes);

  for (let head = keyHead * sharedBy; head < (keyHead + 1) * sharedBy; head++) {
    load_gates(
      args.gates, args.head_vectors, args.rows, heads, row, head, args.min_step, args.max_step, args.is_delta,
    );
    const value = args.qkv + start + (<usize>(args.v_offset + head * valueDim) << 2);
    const gradient = args.d_out + (<usize>row * <usize>valueSize + <usize>(head * valueDim) << 2);
    const place = <usize>(window * heads + head) * stateBytes + <usize>t * states;
    const before = args.states + place, after = before + states, d = args.state_gradients + place + states;
    memory.fill(products, 0, 2 * rowBytes);
    for (let i: usize = 0; i < <usize>keyDim; i++) {
      const key = keyScale * load<f32>(k + (i << 2));
      add_scaled(products, d + i * rowBytes, key, valueDim);
      if (isDelta) add_scaled(rest, before + i * rowBytes, key, valueDim);
    }
    let decayGradient: f32 = -strength * dot(products, rest, valueDim);
    for (let j: usize = 0; j < rowBytes; j += 4) {
      store<f32>(rest + j, load<f32>(value + j) - decay * load<f32>(rest + j));
    }
    const strengthGradient = dot(products, rest, valueDim);
    for (let i: usize = 0; i < <usize>keyDim; i++) {
      const s = before + i * rowBytes, ofState = d + i * rowBytes, at = i << 2;
      let change = dot(ofState, rest, valueDim);
      if (isDelta) change -= decay * dot(s, products, valueDim);
      store<f32>(keyGradient + at, load<f32>(keyGradient + at) + strength * change);
      store<f32>(queryGradient + at, load<f32>(queryGradient + at) + queryFactor * dot(after + i * rowBytes, gradient, valueDim));
      decayGradient += dot(ofState, s, valueDim);
    }
    const gates = args.d_gates + (<usize>row * <usize>heads + <usize>head << 2);
    let stepGradient = decayGradient * decay * rate;
    if (isDelta) add_to(gates + (<usize>args.rows * <usize>heads << 2), strengthGradient * strength * (1 - strength));
    else stepGradient += strengthGradient;
    add_to(gates, stepGradient * slope);
  }
  add_vector_gradient(args.d_qkv + queries, queryGradient, args.qkv + queries, queryScale, keyDim, isDelta);
  add_vector_gradient(args.d_qkv + keys, keyGradient, k, keyScale, keyDim, isDelta);
}

// Adds the gradient of a query or key x. `gradient` is the gradient of the unit vector scale·x, or of x itself.
function add_vector_gradient(
  target: usize,
  gradient: usize,
  x: usize,
  scale: f32,
  count: u32,
  isUnit: bool,
): void {
  add_scaled(target, gradient, scale, count);
  if (isUnit) add_scaled(target, x, -scale * scale * scale * dot(x, gradient, count), count);
}

function add_to(target: usize, value: f32): void {
  store<f32>(target, load<f32>(target) + value);
}
