// The recurrence of linear attention. src/device/kernels/forward/linear_attention.ts describes the buffers. The columns
// of a state do not depend on each other, so each invocation computes one column for all tokens.

@group(0) @binding(3) var<storage, read_write> state: array<f32>;
@group(0) @binding(4) var<storage, read_write> out: array<f32>;
@group(0) @binding(5) var<uniform> params: Params;

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
  let key_head = head / (p.heads / p.key_heads);
  let value_size = p.heads * p.value_dim;
  let row_size = 2 * p.key_heads * p.key_dim + value_size;
  // Row i of the column is element column + i·value_dim of the state.
  let column = (window * p.heads + head) * p.key_dim * p.value_dim + j;
  let states = p.keeps_states * p.batch * p.heads * p.key_dim * p.value_dim; // between consecutive tokens

  for (var t = 0u; t < p.tokens; t++) {
    let row = p.first_row + window * p.window_rows + t;
    let q = row * row_size + p.q_offset + key_head * p.key_dim;
    let k = row * row_size + p.k_offset + key_head * p.key_dim;
    let v = qkv[row * row_size + p.v_offset + head * p.value_dim + j];
    let gate = gates_of(p, row, head);
    let before = column + t * states;

    var change = gate.strength * v; // the factors of k
    var query_scale = 1.0;
    var skipped = 0.0;
    if p.is_delta == 1 {
      var squares = vec2f(0);
      var product = 0.0; // of the state and the key, without their factors
      for (var i = 0u; i < p.key_dim; i++) {
        let query_key = vec2f(qkv[q + i], qkv[k + i]);
        squares += query_key * query_key;
        product += query_key.y * state[before + i * p.value_dim];
      }
      let scales = 1 / sqrt(squares + EPSILON);
      change = gate.strength * (v - gate.decay * scales.y * product) * scales.y;
      query_scale = scales.x / sqrt(f32(p.key_dim));
    } else {
      skipped = head_vectors[2 * p.heads + head] * v;
    }

    var sum = 0.0;
    for (var i = 0u; i < p.key_dim; i++) {
      let element = before + i * p.value_dim;
      let updated = gate.decay * state[element] + qkv[k + i] * change;
      state[element + states] = updated;
      sum += qkv[q + i] * updated;
    }
    out[row * value_size + head * p.value_dim + j] = sum * query_scale + skipped;
  }
}
