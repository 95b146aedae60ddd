// Copies a (rows, cols) submatrix from one buffer to another. Each invocation copies one element. Elements are
// declared as u32, because copying an f32 may flush subnormals to zero and change the payload of a NaN.

struct Params {
  rows: u32,
  cols: u32,
  source_offset: u32,
  source_ld: u32,
  target_offset: u32,
  target_ld: u32,
}

@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> destination: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

@compute @workgroup_size(256)
fn copy2d(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= params.rows * params.cols {
    return;
  }
  let r = index / params.cols;
  let c = index % params.cols;
  destination[params.target_offset + r * params.target_ld + c] =
    source[params.source_offset + r * params.source_ld + c];
}
