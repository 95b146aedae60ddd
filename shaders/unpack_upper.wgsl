// Copies elements from some rows of a packed upper triangle into a tile. src/device/kernels/transfer/unpack_upper.ts
// describes the packed form. Each invocation writes one element of the tile. Elements are declared as u32, so that they
// are copied bit for bit.

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

// Returns the index at which row r of `source` starts: r·length − r(r−1)/2, where `length` is the length of
// row 0. Either r or r−1 is even, and the even number is halved before the multiplication. So the difference
// is right even if the products wrap around 2^32.
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
