// Spreads rows of a packed upper triangle into a tile, one element of the tile an invocation. Elements are u32,
// to pass bit for bit.

struct Params {
  n: u32,
  rows: u32,
  cols: u32,
  first_row: u32,
  first_col: u32,
  target_offset: u32,
  ld: u32,
}

@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read_write> destination: array<u32>;
@group(0) @binding(2) var<uniform> params: Params;

// Where row r of the strip starts: r·length − r(r−1)/2, `length` being that of row 0. The even factor is halved
// before the product, so that what wraps past 2^32 wraps back.
fn row_start(r: u32) -> u32 {
  let length = params.n - params.first_row;
  let skipped = select((r / 2) * (r - 1), r * ((r - 1) / 2), (r & 1) == 1);
  return r * length - skipped;
}

@compute @workgroup_size(256)
fn unpack_upper(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= params.rows * params.cols {
    return;
  }
  let r = index / params.cols;
  let c = index % params.cols;
  let i = params.first_row + r;
  let j = params.first_col + c;
  if j >= i {
    destination[params.target_offset + r * params.ld + c] = source[row_start(r) + (j - i)];
  }
}
