// Computes the sum of the squares of each column of x, and adds it to an element of `sums`. A workgroup
// handles 16 columns, so that its invocations read 16 neighbouring elements of a row at once. Each of the 16
// invocations of a column sums every 16th row. The 16 partial sums are then added in pairs, in four steps.
// Therefore the rounding error of a long column stays small.

struct Params {
  rows: u32,
  cols: u32,
  x_offset: u32,
  ldx: u32,
}

@group(0) @binding(0) var<storage, read> x: array<f32>;
@group(0) @binding(1) var<storage, read_write> sums: array<f32>;
@group(0) @binding(2) var<uniform> params: Params;

// The number of columns per workgroup, and of invocations per column.
const COLUMNS: u32 = 16;
const LANES: u32 = 16;
var<workgroup> partials: array<f32, COLUMNS * LANES>;

@compute @workgroup_size(COLUMNS, LANES)
fn column_squares(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(local_invocation_id) id: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let c = workgroup.x * COLUMNS + id.x;
  var sum = 0.0;
  if c < params.cols {
    for (var r = id.y; r < params.rows; r += LANES) {
      let value = x[params.x_offset + r * params.ldx + c];
      sum += value * value;
    }
  }
  partials[local] = sum;
  for (var half = LANES / 2; half > 0; half /= 2) {
    workgroupBarrier();
    if id.y < half {
      partials[local] += partials[local + half * COLUMNS];
    }
  }
  if id.y == 0 && c < params.cols {
    sums[c] += partials[local];
  }
}
