// Applies LayerNorm or RMSNorm to the rows of a matrix. Each workgroup handles one row. LayerNorm uses the
// corrected two-pass algorithm of Chan, Golub and LeVeque (1983). This algorithm estimates the mean, sums the
// deviations from the estimate and their squares, and then corrects both the mean and the variance by the
// mean deviation. The simpler formula E[x²] − E[x]² would lose digits by cancellation.

struct Params {
  rows: u32,
  cols: u32,
  eps: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read> bias: array<f32>;
@group(0) @binding(3) var<storage, read_write> y: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

// The bindings of rms_norm, which has no bias.
@group(0) @binding(2) var<storage, read_write> rms_y: array<f32>;
@group(0) @binding(3) var<uniform> rms_params: Params;

struct DivideParams {
  rows: u32,
  cols: u32,
  y_cols: u32,
  eps: f32,
}

// The bindings of divide_by_rms.
@group(0) @binding(1) var<storage, read_write> divided: array<f32>;
@group(0) @binding(2) var<uniform> divide_params: DivideParams;

@compute @workgroup_size(SIZE)
fn layer_norm(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = workgroup.y * grid.x + workgroup.x;
  if r >= params.rows {
    return;
  }
  let start = r * params.cols;
  let count = f32(params.cols);

  var sum = 0.0;
  for (var c = local; c < params.cols; c += SIZE) {
    sum += x[start + c];
  }
  let estimate = workgroup_sum(local, vec2f(sum, 0)).x / count;

  var moments = vec2f(0);
  for (var c = local; c < params.cols; c += SIZE) {
    let deviation = x[start + c] - estimate;
    moments += vec2f(deviation, deviation * deviation);
  }
  moments = workgroup_sum(local, moments) / count;

  let correction = moments.x;
  let variance = max(moments.y - correction * correction, 0);
  let scale = 1 / sqrt(variance + params.eps);
  for (var c = local; c < params.cols; c += SIZE) {
    y[start + c] = ((x[start + c] - estimate) - correction) * scale * weight[c] + bias[c];
  }
}

@compute @workgroup_size(SIZE)
fn rms_norm(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = workgroup.y * grid.x + workgroup.x;
  if r >= rms_params.rows {
    return;
  }
  let start = r * rms_params.cols;

  var squares = 0.0;
  for (var c = local; c < rms_params.cols; c += SIZE) {
    squares += x[start + c] * x[start + c];
  }
  let mean = workgroup_sum(local, vec2f(squares, 0)).x / f32(rms_params.cols);
  let scale = 1 / sqrt(mean + rms_params.eps);
  for (var c = local; c < rms_params.cols; c += SIZE) {
    rms_y[start + c] = x[start + c] * scale * weight[c];
  }
}

@compute @workgroup_size(SIZE)
fn divide_by_rms(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = workgroup.y * grid.x + workgroup.x;
  if r >= divide_params.rows {
    return;
  }
  let start = r * divide_params.cols;
  let y_start = r * divide_params.y_cols;

  var squares = 0.0;
  for (var c = local; c < divide_params.cols; c += SIZE) {
    squares += x[start + c] * x[start + c];
  }
  let mean = workgroup_sum(local, vec2f(squares, 0)).x / f32(divide_params.cols);
  let scale = 1 / sqrt(mean + divide_params.eps);
  for (var c = local; c < divide_params.y_cols; c += SIZE) {
    divided[y_start + c] *= scale;
  }
}
