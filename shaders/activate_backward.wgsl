// The backward passes of the kernels in activate.wgsl. src/device/kernels/training/activate_backward.ts describes
// the buffers. Each invocation handles one element.

struct ActivateParams {
  count: u32,
  code: u32, // the value of the parameter `activation`
}

struct GateParams {
  rows: u32,
  cols: u32,
  gate_offset: u32,
  ld_gate: u32,
  up_offset: u32,
  ld_up: u32,
  activation: u32,
  of_up: u32,
}

@group(0) @binding(0) var<storage, read> inputs: array<f32>;
@group(0) @binding(1) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(2) var<uniform> activate_params: ActivateParams;

@group(0) @binding(0) var<storage, read> gate: array<f32>;
@group(0) @binding(1) var<storage, read> up: array<f32>;
@group(0) @binding(2) var<storage, read> gated_gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> factor_gradient: array<f32>;
@group(0) @binding(4) var<uniform> gate_params: GateParams;

struct ClampedGateParams {
  count: u32,
  alpha: f32,
  limit: f32,
}

@group(0) @binding(0) var<storage, read> gate_up: array<f32>;
@group(0) @binding(1) var<storage, read> clamped_gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> gate_up_gradient: array<f32>;
@group(0) @binding(3) var<uniform> clamped_params: ClampedGateParams;

// The derivative of x·σ(z), where z is a function of x with the derivative `slope`. The exponential is limited as
// in `times_sigmoid`. 1 − σ(z) is computed as exp(−z)·σ(z), because the difference would cancel for a large z.
fn times_sigmoid_derivative(x: f32, z: f32, slope: f32) -> f32 {
  let exponential = exp(min(-z, 87));
  let sigmoid = 1 / (1 + exponential);
  return sigmoid + x * slope * (exponential * sigmoid) * sigmoid;
}

// The derivative of σ, computed as above.
fn sigmoid_derivative(x: f32) -> f32 {
  let exponential = exp(min(-x, 87));
  let sigmoid = 1 / (1 + exponential);
  return (exponential * sigmoid) * sigmoid;
}

// Φ(x) + x·φ(x), where Φ is the distribution function of the standard normal distribution, and φ its density.
fn gelu_derivative(x: f32) -> f32 {
  let z = min(abs(x) * 0.70710678, 9.0);
  let exponential = exp(-z * z);
  let tail = 0.5 * erfc_polynomial(z) * exponential;
  return select(tail, 1 - tail, x >= 0) + x * 0.39894228 * exponential;
}

fn activation_derivative(x: f32, code: u32) -> f32 {
  switch code {
    case RELU: {
      return select(0.0, 1.0, x > 0);
    }
    case GELU_TANH: {
      let square = x * x;
      let slope = 1.5957691216 * (1 + 0.134145 * square);
      return times_sigmoid_derivative(x, 1.5957691216 * (x + 0.044715 * square * x), slope);
    }
    case GELU: {
      return gelu_derivative(x);
    }
    case SILU: {
      return times_sigmoid_derivative(x, x, 1);
    }
    case SIGMOID: {
      return sigmoid_derivative(x);
    }
    case RELU2: {
      return 2 * max(x, 0);
    }
    default: {
      return 1;
    }
  }
}

@compute @workgroup_size(256)
fn activate_backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 256);
  if i < activate_params.count {
    gradient[i] *= activation_derivative(inputs[i], activate_params.code);
  }
}

@compute @workgroup_size(256)
fn clamped_gate_backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 256);
  let p = clamped_params;
  if i >= p.count {
    return;
  }
  let gate = gate_up[2 * i];
  let up = gate_up[2 * i + 1];
  if gate <= p.limit {
    let slope = times_sigmoid_derivative(gate, p.alpha * gate, p.alpha);
    gate_up_gradient[2 * i] += (clamp(up, -p.limit, p.limit) + 1) * slope * clamped_gradient[i];
  }
  if abs(up) <= p.limit {
    let limited = min(gate, p.limit);
    gate_up_gradient[2 * i + 1] += times_sigmoid(limited, p.alpha * limited) * clamped_gradient[i];
  }
}

@compute @workgroup_size(256)
fn gate_backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = gate_params;
  let i = linear_index(workgroup, grid, local, 256);
  if i >= p.rows * p.cols {
    return;
  }
  let r = i / p.cols;
  let c = i % p.cols;
  let gate_at = p.gate_offset + r * p.ld_gate + c;
  let up_at = p.up_offset + r * p.ld_up + c;
  if p.of_up == 1 {
    factor_gradient[up_at] += activation(gate[gate_at], p.activation) * gated_gradient[i];
  } else {
    factor_gradient[gate_at] += activation_derivative(gate[gate_at], p.activation) * up[up_at] * gated_gradient[i];
  }
}
