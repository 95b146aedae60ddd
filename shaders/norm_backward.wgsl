// The backward pass of LayerNorm and RMSNorm. src/device/kernels/training/norm_backward.ts describes the buffers. Each
// workgroup handles one row. The mean and the variance are computed as in normalize.wgsl.

struct Params {
  rows: u32,
  cols: u32,
  eps: f32,
  is_centered: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> weight: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> x_gradient: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(SIZE)
fn norm_backward(
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

  // An RMSNorm does not subtract the mean.
  var estimate = 0.0;
  var correction = 0.0;
  if params.is_centered == 1 {
    var sum = 0.0;
    for (var c = local; c < params.cols; c += SIZE) {
      sum += x[start + c];
    }
    estimate = workgroup_sum(local, vec2f(sum, 0)).x / count;
  }
  var moments = vec2f(0);
  for (var c = local; c < params.cols; c += SIZE) {
    let deviation = x[start + c] - estimate;
    moments += vec2f(deviation, deviation * deviation);
  }
  moments = workgroup_sum(local, moments) / count;
  if params.is_centered == 1 {
    correction = moments.x;
  }
  let scale = 1 / sqrt(max(moments.y - correction * correction, 0) + params.eps);

  // The means of weight∘gradient and of weight∘gradient∘(the normalised row).
  var means = vec2f(0);
  for (var c = local; c < params.cols; c += SIZE) {
    let weighted = weight[c] * gradient[start + c];
    means += vec2f(weighted, weighted * ((x[start + c] - estimate) - correction) * scale);
  }
  means = workgroup_sum(local, means) / count;
  if params.is_centered == 0 {
    means.x = 0;
  }

  for (var c = local; c < params.cols; c += SIZE) {
    let i = start + c;
    let normalized = ((x[i] - estimate) - correction) * scale;
    x_gradient[i] += scale * (weight[c] * gradient[i] - means.x - normalized * means.y);
    gradient[i] *= normalized;
  }
}
