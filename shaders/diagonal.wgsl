// Kernels on the diagonal of a symmetric matrix. src/device/kernels/diagonal.ts describes them. In get_diagonal and
// set_diagonal, each invocation handles one element of the diagonal.

struct GetDiagonalParams {
  count: u32,
  row: u32,
  col: u32,
  ld: u32,
  first: u32,
}

struct SetDiagonalParams {
  count: u32,
  ld: u32,
  first: u32,
}

struct MirrorParams {
  size: u32,
  ld: u32,
}

@group(0) @binding(0) var<storage, read> get_tile: array<f32>;
@group(0) @binding(1) var<storage, read_write> get_values: array<f32>;
@group(0) @binding(2) var<uniform> get_params: GetDiagonalParams;

@group(0) @binding(0) var<storage, read> set_values: array<f32>;
@group(0) @binding(1) var<storage, read_write> set_tile: array<f32>;
@group(0) @binding(2) var<uniform> set_params: SetDiagonalParams;

@group(0) @binding(0) var<storage, read_write> mirror_tile: array<f32>;
@group(0) @binding(1) var<uniform> mirror_params: MirrorParams;

@compute @workgroup_size(64)
fn get_diagonal(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 64);
  if i >= get_params.count {
    return;
  }
  get_values[get_params.first + i] = get_tile[(get_params.row + i) * get_params.ld + get_params.col + i];
}

@compute @workgroup_size(64)
fn set_diagonal(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let i = linear_index(workgroup, grid, local, 64);
  if i >= set_params.count {
    return;
  }
  set_tile[i * set_params.ld + i] = set_values[set_params.first + i];
}

@compute @workgroup_size(256)
fn mirror_upper(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= mirror_params.size * mirror_params.size {
    return;
  }
  let i = index / mirror_params.size;
  let j = index % mirror_params.size;
  if i < j {
    mirror_tile[j * mirror_params.ld + i] = mirror_tile[i * mirror_params.ld + j];
  }
}
