// The recurrence of the gated delta rule. src/device/kernels/forward/gated_delta.ts describes the buffers. The columns of
// a state do not depend on each other, so each invocation computes one column for all tokens.

struct Params {
  batch: u32,
  tokens: u32,
  first_row: u32,
  window_rows: u32,
  heads: u32,
  key_heads: u32,
  key_dim: u32,
  value_dim: u32,
  a_offset: u32,
  lda: u32,
  b_offset: u32,
  ldb: u32,
  gate_stride: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> a_log: array<f32>;
@group(0) @binding(4) var<storage, read> dt_bias: array<f32>;
@group(0) @binding(5) var<storage, read_write> state: array<f32>;
@group(0) @binding(6) var<storage, read_write> out: array<f32>;
@group(0) @binding(7) var<uniform> params: Params;

// The number that is added to the squared length of a query or key.
const EPSILON: f32 = 1e-6;

// ln(1 + e^x), in a form in which exp does not overflow.
fn softplus(x: f32) -> f32 {
  return max(x, 0) + log(1 + exp(-abs(x)));
}

@compute @workgroup_size(64)
fn gated_delta(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = params;
  let index = linear_index(workgroup, grid, local, 64);
  if index >= p.batch * p.heads * p.value_dim {
    return;
  }
  let j = index % p.value_dim;
  let head = index / p.value_dim % p.heads;
  let window = index / (p.value_dim * p.heads);
  let shared_by = p.heads / p.key_heads;
  let key_head = head / shared_by;
  let gate_column = key_head * p.gate_stride + head % shared_by;
  let key_size = p.key_heads * p.key_dim;
  let value_size = p.heads * p.value_dim;
  // Row i of the column is element column + i·value_dim of the state.
  let column = (window * p.heads + head) * p.key_dim * p.value_dim + j;
  let rate = -exp(a_log[head]);

  for (var t = 0u; t < p.tokens; t++) {
    let row = p.first_row + window * p.window_rows + t;
    let q = row * (2 * key_size + value_size) + key_head * p.key_dim;
    let k = q + key_size;
    let v = qkv[row * (2 * key_size + value_size) + 2 * key_size + head * p.value_dim + j];
    let decay = exp(rate * softplus(a[p.a_offset + row * p.lda + gate_column] + dt_bias[head]));
    let beta = times_sigmoid(1, b[p.b_offset + row * p.ldb + gate_column]);

    var squares = vec2f(0);
    var product = 0.0; // of the state and the key, without their factors
    for (var i = 0u; i < p.key_dim; i++) {
      let query_key = vec2f(qkv[q + i], qkv[k + i]);
      squares += query_key * query_key;
      product += query_key.y * state[column + i * p.value_dim];
    }
    let scales = 1 / sqrt(squares + EPSILON);
    let change = beta * (v - decay * scales.y * product) * scales.y;

    var sum = 0.0;
    for (var i = 0u; i < p.key_dim; i++) {
      let element = column + i * p.value_dim;
      let updated = decay * state[element] + qkv[k + i] * change;
      state[element] = updated;
      sum += qkv[q + i] * updated;
    }
    out[row * value_size + head * p.value_dim + j] = sum * scales.x / sqrt(f32(p.key_dim));
  }
}
