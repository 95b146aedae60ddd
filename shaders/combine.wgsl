// Two elementwise kernels on a tile. src/device/kernels/combine.ts describes both. Each invocation handles one element.

struct CombineParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  first: u32,
  words: u32,
  kept_x: f32,
  kept_y: f32,
  pruned_x: f32,
  pruned_y: f32,
}

struct ScaleParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  first: u32,
  has_left: u32,
}

@group(0) @binding(0) var<storage, read> combine_x: array<f32>;
@group(0) @binding(1) var<storage, read> combine_mask: array<u32>;
@group(0) @binding(2) var<storage, read_write> combine_y: array<f32>;
@group(0) @binding(3) var<uniform> combine_params: CombineParams;

@group(0) @binding(0) var<storage, read> scale_left: array<f32>;
@group(0) @binding(1) var<storage, read> scale_right: array<f32>;
@group(0) @binding(2) var<storage, read_write> scale_x: array<f32>;
@group(0) @binding(3) var<uniform> scale_params: ScaleParams;

@compute @workgroup_size(256)
fn masked_combine(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = combine_params;
  let index = linear_index(workgroup, grid, local, 256);
  if index >= p.rows * p.cols {
    return;
  }
  let r = index / p.cols;
  let c = index % p.cols;
  let column = p.first + c;
  let kept = ((combine_mask[(p.row0 + r) * p.words + column / 32] >> (column % 32)) & 1) == 1;
  let i = r * p.ld + c;
  combine_y[i] = select(p.pruned_x, p.kept_x, kept) * combine_x[i] + select(p.pruned_y, p.kept_y, kept) * combine_y[i];
}

@compute @workgroup_size(256)
fn scale_tile(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = scale_params;
  let index = linear_index(workgroup, grid, local, 256);
  if index >= p.rows * p.cols {
    return;
  }
  let r = index / p.cols;
  let c = index % p.cols;
  var factor = scale_right[p.first + c];
  if p.has_left == 1 {
    factor *= scale_left[p.row0 + r];
  }
  scale_x[r * p.ld + c] *= factor;
}
