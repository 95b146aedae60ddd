// Copies and adds whole rows of activations. src/device/kernels/forward/rows.ts describes both kernels. Each
// invocation handles one element.

struct GatherParams {
  rows: u32,
  cols: u32,
  offset: u32,
}

struct AddParams {
  rows: u32,
  cols: u32,
  offset: u32,
  has_index: u32,
  scale: f32,
}

// Elements that are copied are declared as u32, because copying an f32 may change its bits.
@group(0) @binding(0) var<storage, read> gather_x: array<u32>;
@group(0) @binding(1) var<storage, read> gather_index: array<u32>;
@group(0) @binding(2) var<storage, read_write> gather_y: array<u32>;
@group(0) @binding(3) var<uniform> gather_params: GatherParams;

@group(0) @binding(0) var<storage, read> add_x: array<f32>;
@group(0) @binding(1) var<storage, read> add_index: array<u32>;
@group(0) @binding(2) var<storage, read> add_factors: array<f32>;
@group(0) @binding(3) var<storage, read_write> add_y: array<f32>;
@group(0) @binding(4) var<uniform> add_params: AddParams;

@compute @workgroup_size(256)
fn gather_rows(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = gather_params;
  let i = linear_index(workgroup, grid, local, 256);
  if i >= p.rows * p.cols {
    return;
  }
  let row = gather_index[p.offset + i / p.cols];
  gather_y[i] = gather_x[row * p.cols + i % p.cols];
}

@compute @workgroup_size(256)
fn add_rows(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = add_params;
  let i = linear_index(workgroup, grid, local, 256);
  if i >= p.rows * p.cols {
    return;
  }
  var row = i / p.cols;
  var factor = p.scale;
  if p.has_index == 1 {
    factor *= add_factors[p.offset + row];
    row = add_index[p.offset + row];
  }
  add_y[row * p.cols + i % p.cols] += factor * add_x[i];
}
