// The loss by which the outputs of a block are compared with their targets, and its gradient.
// src/device/kernels/training/block_loss.ts describes the buffers. Each workgroup handles one row.

struct Params {
  rows: u32,
  cols: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> outputs: array<f32>;
@group(0) @binding(1) var<storage, read> targets: array<f32>;
@group(0) @binding(2) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(3) var<storage, read_write> errors: array<f32>;
@group(0) @binding(4) var<uniform> params: Params;

@compute @workgroup_size(SIZE)
fn block_loss(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = workgroup.y * grid.x + workgroup.x;
  if r >= params.rows {
    return;
  }
  let start = r * params.cols;

  // The squared norms of the difference and of the target.
  var squares = vec2f(0);
  for (var c = local; c < params.cols; c += SIZE) {
    let row_target = targets[start + c];
    let difference = outputs[start + c] - row_target;
    squares += vec2f(difference * difference, row_target * row_target);
  }
  squares = workgroup_sum(local, squares);

  var inverse = 0.0;
  var error = sign(squares.x);
  if squares.y > 0 {
    inverse = 1 / squares.y;
    error = squares.x / squares.y;
  }
  if local == 0 {
    errors[r] = error;
  }
  for (var c = local; c < params.cols; c += SIZE) {
    gradient[start + c] = 2 * params.scale * inverse * (outputs[start + c] - targets[start + c]);
  }
}
