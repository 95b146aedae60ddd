// Permutes the columns of a matrix, the rows and columns of a symmetric matrix, and the columns of a mask. The kernels
// are described in src/device/kernels/transfer/gather.ts. Elements are declared as u32, because copying an f32 may
// change its bits.

struct ColumnsParams {
  rows: u32,
  cols: u32,
  target_ld: u32,
  first: u32,
  source_ld: u32,
  source_first: u32,
  source_cols: u32,
}

struct SymmetricParams {
  rows: u32,
  cols: u32,
  target_ld: u32,
  row0: u32,
  first: u32,
  source_ld: u32,
  source_row0: u32,
  source_rows: u32,
  source_first: u32,
  source_cols: u32,
}

struct BitsParams {
  rows: u32,
  cols: u32,
  words: u32,
}

@group(0) @binding(0) var<storage, read> source: array<u32>;
@group(0) @binding(1) var<storage, read> order: array<u32>;
@group(0) @binding(2) var<storage, read_write> destination: array<u32>;
@group(0) @binding(3) var<uniform> columns_params: ColumnsParams;
@group(0) @binding(3) var<uniform> symmetric_params: SymmetricParams;
@group(0) @binding(3) var<uniform> bits_params: BitsParams;

@compute @workgroup_size(256)
fn gather_columns(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = columns_params;
  let index = linear_index(workgroup, grid, local, 256);
  if index >= p.rows * p.cols {
    return;
  }
  let r = index / p.cols;
  let c = index % p.cols;
  // If the source column is left of the source tile, the difference wraps around to a large number.
  let s = order[p.first + c] - p.source_first;
  if s < p.source_cols {
    destination[r * p.target_ld + c] = source[r * p.source_ld + s];
  }
}

@compute @workgroup_size(256)
fn gather_symmetric(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = symmetric_params;
  let index = linear_index(workgroup, grid, local, 256);
  if index >= p.rows * p.cols {
    return;
  }
  let r = index / p.cols;
  let c = index % p.cols;
  let i = order[p.row0 + r];
  let j = order[p.first + c];
  // If the source row is above the source tile, or the source column is left of it, the difference wraps
  // around to a large number.
  let a = min(i, j) - p.source_row0;
  let b = max(i, j) - p.source_first;
  if a < p.source_rows && b < p.source_cols {
    destination[r * p.target_ld + c] = source[a * p.source_ld + b];
  }
}

// Each invocation writes one word of 32 mask bits.
@compute @workgroup_size(64)
fn gather_bits(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let p = bits_params;
  let index = linear_index(workgroup, grid, local, 64);
  if index >= p.rows * p.words {
    return;
  }
  let row = index / p.words * p.words;
  let first = index % p.words * 32;
  var bits = 0u;
  for (var k = 0u; k < min(32, p.cols - first); k++) {
    let s = order[first + k];
    bits |= ((source[row + s / 32] >> (s % 32)) & 1) << k;
  }
  destination[index] = bits;
}
