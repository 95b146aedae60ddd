// One step of Adam. src/device/kernels/training/adam.ts describes the buffers. Each invocation handles one weight.

struct Params {
  count: u32,
  keeps_zeros: u32,
  rate: f32,
  correction: f32,
}

@group(0) @binding(0) var<storage, read> gradient: array<f32>;
@group(0) @binding(1) var<storage, read_write> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> first: array<f32>;
@group(0) @binding(3) var<storage, read_write> second: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(256)
fn adam(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 256);
  if i >= params.count {
    return;
  }
  let g = gradient[i];
  let mean = 0.9 * first[i] + 0.1 * g;
  let square = 0.999 * second[i] + 0.001 * g * g;
  first[i] = mean;
  second[i] = square;
  if params.keeps_zeros == 1 && weight[i] == 0 {
    return;
  }
  weight[i] -= params.rate * mean / (params.correction * sqrt(square) + 0.00000001);
}
