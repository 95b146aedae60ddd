// Searches the grids of whole rows of weights. src/device/kernels/search_grids.ts describes the kernels and the search.
// The candidates of the search are in shared/quantization_grid.wgsl, which is prepended to this file.

struct ErrorsParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
  first: u32,
  stage: u32,
  max_code: u32,
  symmetric: u32,
  scale_dtype: u32,
}

struct ChooseParams {
  count: u32,
  stage: u32,
  max_code: u32,
  symmetric: u32,
  scale_dtype: u32,
}

@group(0) @binding(0) var<storage, read> errors_w: array<f32>;
@group(0) @binding(1) var<storage, read> errors_importance: array<f32>;
@group(0) @binding(2) var<storage, read> errors_scales: array<f32>;
@group(0) @binding(3) var<storage, read> errors_zeros: array<f32>;
@group(0) @binding(4) var<storage, read_write> errors_sums: array<vec4f>;
@group(0) @binding(5) var<uniform> errors_params: ErrorsParams;

@group(0) @binding(0) var<storage, read_write> choose_errors: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> choose_scales: array<f32>;
@group(0) @binding(2) var<storage, read_write> choose_zeros: array<f32>;
@group(0) @binding(3) var<uniform> choose_params: ChooseParams;

// The quads of candidates, and the number of parts into which the columns of a row are divided. Each quad has one
// invocation per part.
const QUADS: u32 = CANDIDATES / 4;
const PARTS: u32 = 16;
const SIZE: u32 = QUADS * PARTS;

// Element i has the errors of the quad i % QUADS.
var<workgroup> sums: array<vec4f, SIZE>;

@compute @workgroup_size(SIZE)
fn grid_errors(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = errors_params;
  let r = linear_index(workgroup, grid, 0, 1);
  if r >= p.rows {
    return;
  }
  let rule = GridRule(f32(p.max_code), p.symmetric == 1, true, p.scale_dtype, 0, 0, false);
  let start = QuantizationGrid(errors_scales[p.row0 + r], errors_zeros[p.row0 + r], 0);
  let quad = local % QUADS;
  let candidates = candidates_of(start, p.stage, quad, rule);
  let inverses = 1 / candidates.scales;
  var own = vec4f();
  for (var c = local / QUADS; c < p.cols; c += PARTS) {
    let weight = errors_w[r * p.ld + c];
    own += grid_errors_of(candidates, inverses, rule.max_code, weight, errors_importance[p.first + c]);
  }
  sums[local] = own;
  for (var half = SIZE / 2; half >= QUADS; half /= 2) {
    workgroupBarrier();
    if local < half {
      sums[local] += sums[local + half];
    }
  }
  if local < QUADS {
    errors_sums[(p.row0 + r) * QUADS + quad] += sums[local];
  }
}

@compute @workgroup_size(64)
fn choose_grids(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = choose_params;
  let i = linear_index(workgroup, grid, local, 64);
  if i >= p.count {
    return;
  }
  var best = BestCandidate(0, choose_errors[i * QUADS].x);
  for (var quad = 0u; quad < QUADS; quad++) {
    best = better_candidate(best, quad, choose_errors[i * QUADS + quad]);
    choose_errors[i * QUADS + quad] = vec4f();
  }
  let rule = GridRule(f32(p.max_code), p.symmetric == 1, true, p.scale_dtype, 0, 0, false);
  let chosen = candidate_grid(QuantizationGrid(choose_scales[i], choose_zeros[i], 0), p.stage, best.n, rule);
  choose_scales[i] = chosen.scale;
  choose_zeros[i] = chosen.zero;
}
