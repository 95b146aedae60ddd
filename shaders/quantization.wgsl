// Computes the grids of whole rows of weights, and encodes weights that are rounded to a grid. The kernels are
// described in src/device/kernels/quantization.ts. The arithmetic of a grid is in shared/quantization_grid.wgsl, which
// is prepended to this file.

struct ExtremesParams {
  rows: u32,
  cols: u32,
  ld: u32,
  row0: u32,
}

struct FitParams {
  count: u32,
  max_code: u32,
  symmetric: u32,
  searched: u32,
  scale_dtype: u32,
}

struct EncodeParams {
  count: u32,
  cols: u32,
  q_offset: u32,
  row0: u32,
  grid_size: u32,
  grids: u32,
}

@group(0) @binding(0) var<storage, read> extremes_w: array<f32>;
@group(0) @binding(1) var<storage, read_write> extremes_lows: array<f32>;
@group(0) @binding(2) var<storage, read_write> extremes_highs: array<f32>;
@group(0) @binding(3) var<uniform> extremes_params: ExtremesParams;

@group(0) @binding(0) var<storage, read_write> fit_scales: array<f32>;
@group(0) @binding(1) var<storage, read_write> fit_zeros: array<f32>;
@group(0) @binding(2) var<uniform> fit_params: FitParams;

@group(0) @binding(0) var<storage, read> encode_q: array<f32>;
@group(0) @binding(1) var<storage, read> encode_scales: array<f32>;
@group(0) @binding(2) var<storage, read> encode_zeros: array<f32>;
@group(0) @binding(3) var<storage, read_write> encode_target: array<u32>;
@group(0) @binding(4) var<uniform> encode_params: EncodeParams;

// The number of lanes of a row in row_extremes.
const LANES: u32 = 64;

// The smallest and the largest element that each lane has read.
var<workgroup> lows: array<f32, LANES>;
var<workgroup> highs: array<f32, LANES>;

@compute @workgroup_size(LANES)
fn row_extremes(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = extremes_params;
  let r = linear_index(workgroup, grid, 0, 1);
  if r >= p.rows {
    return;
  }
  var low = extremes_lows[p.row0 + r];
  var high = extremes_highs[p.row0 + r];
  for (var c = local; c < p.cols; c += LANES) {
    let weight = extremes_w[r * p.ld + c];
    low = min(low, weight);
    high = max(high, weight);
  }
  lows[local] = low;
  highs[local] = high;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if local < half {
      lows[local] = min(lows[local], lows[local + half]);
      highs[local] = max(highs[local], highs[local + half]);
    }
  }
  if local == 0 {
    extremes_lows[p.row0 + r] = lows[0];
    extremes_highs[p.row0 + r] = highs[0];
  }
}

@compute @workgroup_size(64)
fn fit_grids(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = fit_params;
  let i = linear_index(workgroup, grid, local, 64);
  if i >= p.count {
    return;
  }
  // Before the dispatch, fit_scales has the smallest weights and fit_zeros the largest.
  let rule = GridRule(f32(p.max_code), p.symmetric == 1, p.searched == 1, p.scale_dtype, 0, 0, false);
  let fitted = quantization_grid(fit_scales[i], fit_zeros[i], rule);
  fit_scales[i] = fitted.scale;
  fit_zeros[i] = fitted.zero;
}

// Returns the code of element i, or 0 if i ≥ count.
fn code_of(i: u32) -> u32 {
  let p = encode_params;
  if i >= p.count {
    return 0;
  }
  let c = i % p.cols;
  let group = select(c / max(p.grid_size, 1), 0, p.grid_size == 0);
  let at = (p.row0 + i / p.cols) * p.grids + group;
  return u32(round(encode_q[p.q_offset + i] / encode_scales[at] + encode_zeros[at]));
}

// Each invocation writes a whole word, which has four codes, so that no word is written by two invocations.
@compute @workgroup_size(256)
fn encode_codes(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let word = linear_index(workgroup, grid, local, 256);
  if 4 * word < encode_params.count {
    let i = 4 * word;
    encode_target[word] = code_of(i) | (code_of(i + 1) << 8) | (code_of(i + 2) << 16) | (code_of(i + 3) << 24);
  }
}
