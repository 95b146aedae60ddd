// The backward pass of linear attention. src/device/kernels/training/linear_attention_backward.ts describes the buffers.

@group(0) @binding(3) var<storage, read> d_out: array<f32>;

@group(0) @binding(4) var<storage, read_write> carried: array<f32>; // state_gradients
@group(0) @binding(5) var<storage, read_write> d_values: array<f32>; // d_qkv
@group(0) @binding(6) var<uniform> states_params: Params;

@group(0) @binding(4) var<storage, read> states: array<f32>;
@group(0) @binding(5) var<storage, read> state_gradients: array<f32>;
@group(0) @binding(6) var<storage, read_write> d_qkv: array<f32>;
@group(0) @binding(7) var<storage, read_write> d_gates: array<f32>;
@group(0) @binding(8) var<uniform> inputs_params: Params;

// Each invocation computes one column of the gradients of a state for all tokens.
@compute @workgroup_size(64)
fn linear_attention_states_backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = states_params;
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
  let column = (window * p.heads + head) * p.key_dim * p.value_dim + j;
  let state_size = p.batch * p.heads * p.key_dim * p.value_dim;

  for (var age = 0u; age < p.tokens; age++) {
    let t = p.tokens - 1 - age;
    let row = p.first_row + window * p.window_rows + t;
    let q = row * row_size + p.q_offset + key_head * p.key_dim;
    let k = row * row_size + p.k_offset + key_head * p.key_dim;
    let before = column + t * state_size;
    let after = before + state_size;
    let gate = gates_of(p, row, head);
    let gradient = d_out[row * value_size + head * p.value_dim + j];

    var squares = vec2f(0);
    var products = vec2f(0); // of the key with the query and with the carried gradient, without their factors
    for (var i = 0u; i < p.key_dim; i++) {
      let query_key = vec2f(qkv[q + i], qkv[k + i]);
      squares += query_key * query_key;
      products += query_key.y * vec2f(query_key.x, carried[after + i * p.value_dim]);
    }
    var query_factor = gradient;
    var key_scale = 1.0;
    var skipped = 0.0;
    if p.is_delta == 1 {
      let scales = 1 / sqrt(squares + EPSILON);
      query_factor *= scales.x / sqrt(f32(p.key_dim));
      key_scale = scales.y;
    } else {
      skipped = head_vectors[2 * p.heads + head] * gradient;
    }
    let product = gate.strength * key_scale * (products.y + query_factor * products.x);
    d_values[row * row_size + p.v_offset + head * p.value_dim + j] += product + skipped;

    let correction = f32(p.is_delta) * key_scale * product;
    for (var i = 0u; i < p.key_dim; i++) {
      let element = i * p.value_dim;
      let complete = carried[after + element] + query_factor * qkv[q + i];
      carried[after + element] = complete;
      carried[before + element] = gate.decay * (complete - correction * qkv[k + i]);
    }
  }
}

// The key of the token, with its factor.
var<workgroup> keys: array<f32, SIZE>;
// For each column of a chunk: the factors of the rows of D, S and states[t + 1] in the gradients of the key and the query.
var<workgroup> factors: array<vec3f, SIZE>;

// Each workgroup handles the heads that share the key of a token. Its invocations first compute one column of D and S
// each, in chunks of SIZE columns, and then one row.
@compute @workgroup_size(SIZE)
fn linear_attention_inputs_backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = inputs_params;
  let item = workgroup.y * grid.x + workgroup.x;
  if item >= p.batch * p.tokens * p.key_heads {
    return;
  }
  let key_head = item % p.key_heads;
  let t = item / p.key_heads % p.tokens;
  let window = item / (p.key_heads * p.tokens);
  let row = p.first_row + window * p.window_rows + t;
  let shared_by = p.heads / p.key_heads;
  let value_size = p.heads * p.value_dim;
  let row_size = 2 * p.key_heads * p.key_dim + value_size;
  let state_size = p.batch * p.heads * p.key_dim * p.value_dim;
  let is_delta = f32(p.is_delta);
  let q = row * row_size + p.q_offset + key_head * p.key_dim + local;
  let k = row * row_size + p.k_offset + key_head * p.key_dim + local;
  let has_row = local < p.key_dim;

  var query_key = vec2f(0);
  if has_row {
    query_key = vec2f(qkv[q], qkv[k]);
  }
  var scales = vec2f(1);
  if p.is_delta == 1 {
    scales = 1 / sqrt(workgroup_sum(local, query_key * query_key) + EPSILON);
  }
  query_key *= scales;
  keys[local] = query_key.y;

  var gradient = vec2f(0); // of an element of the query and the key, with their factors
  for (var head = key_head * shared_by; head < (key_head + 1) * shared_by; head++) {
    let gate = gates_of(p, row, head);
    let state = t * state_size + (window * p.heads + head) * p.key_dim * p.value_dim;
    let value = head * p.value_dim;
    var gate_sums = vec2f(0); // the gradients of the decay and of the strength
    for (var first = 0u; first < p.value_dim; first += SIZE) {
      workgroupBarrier(); // now every invocation has read the factors of the previous chunk
      let j = first + local;
      if j < p.value_dim {
        var products = vec2f(0); // of the key with D and S
        for (var i = 0u; i < p.key_dim; i++) {
          let element = state + i * p.value_dim + j;
          products += keys[i] * vec2f(state_gradients[element + state_size], states[element]);
        }
        products.y *= is_delta;
        let rest = qkv[row * row_size + p.v_offset + value + j] - gate.decay * products.y;
        gate_sums += products.x * vec2f(-gate.strength * products.y, rest);
        factors[local] = vec3f(
          gate.strength * rest,
          -is_delta * gate.strength * gate.decay * products.x,
          d_out[row * value_size + value + j],
        );
      }
      workgroupBarrier();
      if has_row {
        let start = state + local * p.value_dim + first;
        for (var c = 0u; c < min(SIZE, p.value_dim - first); c++) {
          let d = state_gradients[start + c + state_size];
          let s = states[start + c];
          gradient.x += factors[c].z * states[start + c + state_size];
          gradient.y += factors[c].x * d + factors[c].y * s;
          gate_sums.x += d * s;
        }
      }
    }
    let total = workgroup_sum(local, gate_sums);
    if local == 0 {
      add_gate_gradients(p, row, head, gate, total);
    }
  }

  if p.is_delta == 1 {
    gradient.x /= sqrt(f32(p.key_dim));
    gradient = scales * (gradient - query_key * workgroup_sum(local, query_key * gradient));
  }
  if has_row {
    d_qkv[q] += gradient.x;
    d_qkv[k] += gradient.y;
  }
}

// Adds the gradients of a and b. `gradient` has the gradients of the decay and of the strength.
fn add_gate_gradients(p: Params, row: u32, head: u32, gate: Gates, gradient: vec2f) {
  var of_step = gradient.x * gate.decay * gate.rate;
  if p.is_delta == 1 {
    d_gates[(p.rows + row) * p.heads + head] += gradient.y * gate.strength * (1 - gate.strength);
  } else {
    of_step += gradient.y;
  }
  d_gates[row * p.heads + head] += of_step * gate.slope;
}
