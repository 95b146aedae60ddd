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
  largest = workgroup_max(local, vec2f(largest)).x;

  var sum = 0.0;
  for (var c = local; c < params.cols; c += SIZE) {
    sum += exp(logits[start + c] - largest);
  }
  sum = workgroup_sum(local, vec2f(sum, 0)).x;

  if local == 0 {
    loss[r] = log(sum) + (largest - logits[start + targets[r]]);
  }
}
