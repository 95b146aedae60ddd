// Sets the columns of a weight matrix that belong to dead inputs to zero. src/device/kernels/zero_columns.ts describes
// the buffers. Each invocation handles one element. Elements of other columns are not written.

struct Params {
  rows: u32,
  cols: u32,
  ld: u32,
  first: u32,
}

@group(0) @binding(0) var<storage, read> dead: array<u32>;
@group(0) @binding(1) var<storage, read_write> w: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn zero_columns(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= params.rows * params.cols {
    return;
  }
  let c = index % params.cols;
  if dead[params.first + c] != 0 {
    w[index / params.cols * params.ld + c] = 0;
  }
}
