// The gradient of the inputs of causal_convolution.wgsl. src/device/kernels/training/causal_convolution_backward.ts
// describes the buffers. Each invocation computes one element.

struct Params {
  batch: u32,
  tokens: u32,
  taps: u32,
  heads: u32,
  head_dim: u32,
  head_stride: u32,
  offset: u32,
  ldx: u32,
  first: u32,
  ldy: u32,
}

@group(0) @binding(0) var<storage, read> weight: array<f32>;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> x_gradient: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(256)
fn causal_convolution_backward(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = params;
  let index = linear_index(workgroup, grid, local, 256);
  let channels = p.heads * p.head_dim;
  if index >= p.batch * p.tokens * channels {
    return;
  }
  let c = index % channels;
  let row = index / channels;
  let last_weight = (p.first + c) * p.taps + p.taps - 1;

  // From the token itself to the last later token that reads it.
  var sum = 0.0;
  for (var age = 0u; age < min(p.taps, p.tokens - row % p.tokens); age++) {
    sum += weight[last_weight - age] * gradient[(row + age) * p.ldy + p.first + c];
  }
  x_gradient[p.offset + row * p.ldx + c / p.head_dim * p.head_stride + c % p.head_dim] += sum;
}
