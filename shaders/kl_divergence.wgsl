// Computes the Kullback–Leibler divergence of each row of logits from the same row of the reference.
// src/device/kernels/forward/kl_divergence.ts describes the buffers. Each workgroup handles one row. It finds the
// largest logit of both rows, and then sums p and p·(difference of the logits), without the factor that makes Σ p = 1.

struct Params {
  rows: u32,
  cols: u32,
  ld: u32,
}

@group(0) @binding(0) var<storage, read> reference: array<f32>;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read_write> divergence: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

@compute @workgroup_size(SIZE)
fn kl_divergence(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = workgroup.y * grid.x + workgroup.x;
  if r >= params.rows {
    return;
  }
  let start = r * params.ld;

  // The first component belongs to the reference, the second to the logits.
  var largest = vec2f(LOWEST);
  for (var c = local; c < params.cols; c += SIZE) {
    largest = max(largest, vec2f(reference[start + c], logits[start + c]));
  }
  largest = workgroup_max(local, largest);

  var sums = vec2f(0);
  var difference = 0.0;
  for (var c = local; c < params.cols; c += SIZE) {
    let below = vec2f(reference[start + c], logits[start + c]) - largest;
    let weights = exp(below);
    sums += weights;
    difference += weights.x * (below.x - below.y);
  }
  sums = workgroup_sum(local, sums);
  difference = workgroup_sum(local, vec2f(difference, 0)).x;

  if local == 0 {
    divergence[r] = difference / sums.x + log(sums.y / sums.x);
  }
}
