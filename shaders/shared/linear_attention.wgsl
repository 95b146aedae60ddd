// The parameters, the first bindings and the gates of linear attention, which its shaders for both directions share.
// src/device/kernels/forward/linear_attention.ts describes them.

struct Params {
  batch: u32,
  tokens: u32,
  first_row: u32,
  window_rows: u32,
  rows: u32,
  heads: u32,
  key_heads: u32,
  key_dim: u32,
  value_dim: u32,
  q_offset: u32,
  k_offset: u32,
  v_offset: u32,
  min_step: f32,
  max_step: f32,
  is_delta: u32,
  keeps_states: u32,
}

@group(0) @binding(0) var<storage, read> qkv: array<f32>;
@group(0) @binding(1) var<storage, read> gates: array<f32>;
@group(0) @binding(2) var<storage, read> head_vectors: array<f32>;

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

// The numbers of a head and a token, from the inputs a and b of the gates.
struct Gates {
  slope: f32, // the derivative of the step with respect to a. It is 0 if the step is limited
  rate: f32, // the derivative of ln(decay) with respect to the step
  decay: f32, // the factor of the state
  strength: f32, // σ(b) if is_delta is 1, and otherwise the step
}

fn gates_of(p: Params, row: u32, head: u32) -> Gates {
  let input = gates[row * p.heads + head] + head_vectors[p.heads + head];
  let unlimited = softplus(input);
  let step = clamp(unlimited, p.min_step, p.max_step);
  let rate = -exp(head_vectors[head]);
  var strength = step;
  if p.is_delta == 1 {
    strength = times_sigmoid(1, gates[(p.rows + row) * p.heads + head]);
  }
  let slope = select(0, times_sigmoid(1, input), step == unlimited);
  return Gates(slope, rate, exp(rate * step), strength);
}
