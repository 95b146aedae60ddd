// The elementwise kernels of a model's forward pass. src/device/kernels/forward/activate.ts describes them. Each
// invocation handles one element.

struct ActivateParams {
  rows: u32,
  cols: u32,
  has_bias: u32,
  activation: u32,
}

struct GateParams {
  rows: u32,
  cols: u32,
  gate_offset: u32,
  ld_gate: u32,
  up_offset: u32,
  ld_up: u32,
  activation: u32,
}

struct ClampedGateParams {
  count: u32,
  alpha: f32,
  limit: f32,
}

struct SoftCapParams {
  count: u32,
  cap: f32,
}

@group(0) @binding(0) var<storage, read> bias: array<f32>;
@group(0) @binding(1) var<storage, read_write> activations: array<f32>;
@group(0) @binding(2) var<uniform> activate_params: ActivateParams;

@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read_write> gated: array<f32>;
@group(0) @binding(3) var<uniform> gate_params: GateParams;

@group(0) @binding(0) var<storage, read> gate_up: array<f32>;
@group(0) @binding(1) var<storage, read_write> clamped: array<f32>;
@group(0) @binding(2) var<uniform> clamped_params: ClampedGateParams;

@group(0) @binding(0) var<storage, read_write> capped: array<f32>;
@group(0) @binding(1) var<uniform> soft_cap_params: SoftCapParams;

@compute @workgroup_size(256)
fn bias_activate(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 256);
  if i >= activate_params.rows * activate_params.cols {
    return;
  }
  var value = activations[i];
  if activate_params.has_bias == 1 {
    value += bias[i % activate_params.cols];
  }
  activations[i] = activation(value, activate_params.activation);
}

@compute @workgroup_size(256)
fn gated_multiply(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 256);
  if i >= gate_params.rows * gate_params.cols {
    return;
  }
  let r = i / gate_params.cols;
  let c = i % gate_params.cols;
  let factor = activation(gate[gate_params.gate_offset + r * gate_params.ld_gate + c], gate_params.activation);
  gated[i] = factor * up[gate_params.up_offset + r * gate_params.ld_up + c];
}

@compute @workgroup_size(256)
fn clamped_gate(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 256);
  let p = clamped_params;
  if i < p.count {
    let gate = min(gate_up[2 * i], p.limit);
    let up = clamp(gate_up[2 * i + 1], -p.limit, p.limit);
    clamped[i] = (up + 1) * times_sigmoid(gate, p.alpha * gate);
  }
}

@compute @workgroup_size(256)
fn soft_cap(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 256);
  if i < soft_cap_params.count {
    capped[i] = soft_cap4(vec4f(capped[i]), soft_cap_params.cap).x;
  }
}
