// The two updates of a conjugate-gradient step. src/device/kernels/conjugate_gradient.ts describes both kernels and
// their buffers. Each invocation handles one element of a tile.

struct StepParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  first: u32,
  words: u32,
  stride: u32,
  numerator: u32,
  denominator: u32,
}

struct DirectionParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  stride: u32,
  numerator: u32,
  denominator: u32,
}

@group(0) @binding(0) var<storage, read> step_p: array<f32>;
@group(0) @binding(1) var<storage, read> step_ap: array<f32>;
@group(0) @binding(2) var<storage, read> step_mask: array<u32>;
@group(0) @binding(3) var<storage, read> step_sums: array<f32>;
@group(0) @binding(4) var<storage, read_write> step_q: array<f32>;
@group(0) @binding(5) var<storage, read_write> step_r: array<f32>;
@group(0) @binding(6) var<uniform> step_params: StepParams;

@group(0) @binding(0) var<storage, read> direction_r: array<f32>;
@group(0) @binding(1) var<storage, read> direction_sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> direction_p: array<f32>;
@group(0) @binding(3) var<uniform> direction_params: DirectionParams;

// Returns numerator / denominator, or 0 if the denominator is not positive. A row without kept entries has
// the denominator 0.
fn ratio(numerator: f32, denominator: f32) -> f32 {
  return select(0, numerator / denominator, denominator > 0);
}

@compute @workgroup_size(256)
fn cg_step(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let params = step_params;
  let index = linear_index(workgroup, grid, local, 256);
  if index >= params.rows * params.cols {
    return;
  }
  let r = index / params.cols;
  let c = index % params.cols;
  let matrix_row = params.row0 + r;
  let row_sums = matrix_row * params.stride;
  let a = ratio(step_sums[row_sums + params.numerator], step_sums[row_sums + params.denominator]);
  let column = params.first + c;
  let kept = ((step_mask[matrix_row * params.words + column / 32] >> (column % 32)) & 1) == 1;
  let i = r * params.ld + c;
  step_q[i] += a * step_p[i];
  step_r[i] = select(0, step_r[i] - a * step_ap[i], kept);
}

@compute @workgroup_size(256)
fn cg_direction(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let params = direction_params;
  let index = linear_index(workgroup, grid, local, 256);
  if index >= params.rows * params.cols {
    return;
  }
  let r = index / params.cols;
  let row_sums = (params.row0 + r) * params.stride;
  let b = ratio(direction_sums[row_sums + params.numerator], direction_sums[row_sums + params.denominator]);
  let i = r * params.ld + index % params.cols;
  direction_p[i] = direction_r[i] + b * direction_p[i];
}
