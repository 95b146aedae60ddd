// Computes the dot product of each row of x with the same row of y, and adds it to an element of `sums`. Each
// workgroup handles one row. Each of its 64 invocations sums every 64th product, and a tree adds up the 64
// partial sums. Therefore the rounding error of a long row is almost as small as with pairwise summation.

struct Params {
  rows: u32,
  cols: u32,
  x_offset: u32,
  ldx: u32,
  y_offset: u32,
  ldy: u32,
  sums_offset: u32,
  sums_stride: u32,
  scale: f32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read> y: array<f32>;
@group(0) @binding(2) var<storage, read_write> sums: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// Invocations per workgroup.
const SIZE: u32 = 64;
var<workgroup> partials: array<f32, SIZE>;

@compute @workgroup_size(SIZE)
fn row_dot(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let r = workgroup.y * grid.x + workgroup.x;
  if r >= params.rows {
    return;
  }
  let x_row = params.x_offset + r * params.ldx;
  let y_row = params.y_offset + r * params.ldy;
  var sum = 0.0;
  for (var c = local; c < params.cols; c += SIZE) {
    sum += x[x_row + c] * y[y_row + c];
  }
  partials[local] = sum;
  for (var half = SIZE / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if local < half {
      partials[local] += partials[local + half];
    }
  }
  if local == 0 {
    sums[params.sums_offset + r * params.sums_stride] += params.scale * partials[0];
  }
}
