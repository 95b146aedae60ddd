// Computes the negative log-likelihood of one target class for each row of logits. Each workgroup handles one
// row. It finds the largest logit, and then sums exp(logit − largest).

struct Params {
  rows: u32,
  cols: u32,
  ld: u32,
}

@group(0) @binding(0) var<storage, read> logits: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<u32>;
@group(0) @binding(2) var<storage, read_write> loss: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// Invocations per workgroup.
const SIZE: u32 = 256;
// A stand-in for −∞, because WGSL does not guarantee that infinity behaves as in IEEE 754.
const LOWEST: f32 = -3.4e38;
var<workgroup> partials: array<f32, SIZE>;

fn workgroup_max(local: u32, value: f32) -> f32 {
  partials[local] = value;
  for (var half = SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if local < half {
      partials[local] = max(partials[local], partials[local + half]);
    }
  }
  workgroupBarrier();
  let result = partials[0];
  workgroupBarrier(); // `partials` is reused only after every invocation has read the result
  return result;
}

fn workgroup_sum(local: u32, value: f32) -> f32 {
  partials[local] = value;
  for (var half = SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if local < half {
      partials[local] += partials[local + half];
    }
  }
  workgroupBarrier();
  return partials[0];
}

@compute @workgroup_size(SIZE)
fn cross_entropy(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = workgroup.y * grid.x + workgroup.x;
  if r >= params.rows {
    return;
  }
  let start = r * params.ld;

  var largest = LOWEST;
  for (var c = local; c < params.cols; c += SIZE) {
    largest = max(largest, logits[start + c]);
  }
  largest = workgroup_max(local, largest);

  var sum = 0.0;
  for (var c = local; c < params.cols; c += SIZE) {
    sum += exp(logits[start + c] - largest);
  }
  sum = workgroup_sum(local, sum);

  if local == 0 {
    loss[r] = log(sum) + (largest - logits[start + targets[r]]);
  }
}
