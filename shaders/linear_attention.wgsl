// The recurrence of linear attention. src/device/kernels/forward/linear_attention.ts describes the buffers. The columns
// of a state do not depend on each other, so each invocation computes one column for all tokens.

struct Params {
  batch: u32,
  tokens: u32,
  first_row: u32,
  window_rows: u32,
  heads: u32,
  key_heads: u32,
  key_dim: u32,
  value_dim: u32,
  q_offset: u32,
  k_offset: u32,
  v_offset: u32,
  a_offset: u32,
  lda: u32,
  b_offset: u32,
  ldb: u32,
  gate_stride: u32,
  min_step: f32,
  max_step: f32,
  is_delta: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> a: array<f32>;
@group(0) @binding(2) var<storage, read> b: array<f32>;
@group(0) @binding(3) var<storage, read> a_log: array<f32>;
@group(0) @binding(4) var<storage, read> dt_bias: array<f32>;
@group(0) @binding(5) var<storage, read> skip: array<f32>;
@group(0) @binding(6) var<storage, read_write> state: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<f32>;
@group(0) @binding(8) var<uniform> params: Params;

// The number that is added to the squared length of a query or key.
const EPSILON: f32 = 1e-6;

// ln(1 + e^x), in a form in which exp does not overflow. The logarithm of 1 + e is the series of 2·artanh(e/(2 + e)),
// because `log` would lose the digits of a small e, and the steps of Mamba 2 are small.
fn softplus(x: f32) -> f32 {
  let e = exp(-abs(x));
  let s = e / (2 + e);
  let z = s * s;
  let series = 1 + z * (1.0 / 3 + z * (1.0 / 5 + z * (1.0 / 7 + z * (1.0 / 9 + z * (1.0 / 11 + z / 13)))));
  return max(x, 0) + 2 * s * series;
}

@compute @workgroup_size(64)
fn linear_attention(
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
  let value_size = p.heads * p.value_dim;
  let row_size = 2 * p.key_heads * p.key_dim + value_size;
  // Row i of the column is element column + i·value_dim of the state.
  let column = (window * p.heads + head) * p.key_dim * p.value_dim + j;
  let rate = -exp(a_log[head]);

  for (var t = 0u; t < p.tokens; t++) {
    let row = p.first_row + window * p.window_rows + t;
    let q = row * row_size + p.q_offset + key_head * p.key_dim;
    let k = row * row_size + p.k_offset + key_head * p.key_dim;
    let v = qkv[row * row_size + p.v_offset + head * p.value_dim + j];
    let a_of_head = a[p.a_offset + row * p.lda + gate_column] + dt_bias[head];
    let dt = clamp(softplus(a_of_head), p.min_step, p.max_step);
    let decay = exp(rate * dt);

    var change = dt * v; // the factors of k
    var query_scale = 1.0;
    var skipped = 0.0;
    if p.is_delta == 1 {
      let beta = times_sigmoid(1, b[p.b_offset + row * p.ldb + gate_column]);
      var squares = vec2f(0);
      var product = 0.0; // of the state and the key, without their factors
      for (var i = 0u; i < p.key_dim; i++) {
        let query_key = vec2f(qkv[q + i], qkv[k + i]);
        squares += query_key * query_key;
        product += query_key.y * state[column + i * p.value_dim];
      }
      let scales = 1 / sqrt(squares + EPSILON);
      change = beta * (v - decay * scales.y * product) * scales.y;
      query_scale = scales.x / sqrt(f32(p.key_dim));
    } else {
      skipped = skip[head] * v;
    }

    var sum = 0.0;
    for (var i = 0u; i < p.key_dim; i++) {
      let element = column + i * p.value_dim;
      let updated = decay * state[element] + qkv[k + i] * change;
      state[element] = updated;
      sum += qkv[q + i] * updated;
    }
    out[row * value_size + head * p.value_dim + j] = sum * query_scale + skipped;
  }
}
