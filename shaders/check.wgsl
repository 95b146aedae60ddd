// Checks data. `check_finite` looks for NaN, and for numbers of too large a magnitude, such as infinity.
// `check_symmetry` looks for elements below the diagonal of a symmetric matrix that differ from their mirror images
// above it. Each check stores the lowest index of a defect by an atomic minimum. An invocation executes the atomic
// only if it has found a defect, so good input causes no contention.

struct FiniteParams {
  count: u32,
  offset: u32,
  cols: u32,
  ld: u32,
  limit: u32,
  slot: u32,
}

struct SymmetryParams {
  rows: u32,
  cols: u32,
  row0: u32,
  col0: u32,
  ldstrip: u32,
  ldupper: u32,
  tile_col0: u32,
  slot: u32,
  tolerance: f32,
}

// The bits of f32 values. The kernel tests bits, because a compiler may assume that no float is NaN.
@group(0) @binding(0) var<storage, read> x: array<u32>;
@group(0) @binding(1) var<storage, read_write> first_non_finite: array<atomic<u32>>;
@group(0) @binding(2) var<uniform> finite_params: FiniteParams;

// Some whole rows of the matrix.
@group(0) @binding(0) var<storage, read> strip: array<f32>;
// A tile of the upper triangle of the matrix.
@group(0) @binding(1) var<storage, read> upper: array<f32>;
@group(0) @binding(2) var<storage, read> diagonal: array<f32>;
@group(0) @binding(3) var<storage, read_write> first_asymmetric: array<atomic<u32>>;
@group(0) @binding(4) var<uniform> symmetry_params: SymmetryParams;

// Elements per invocation of check_finite. The grid in src/device/kernels/transfer/check.ts depends on this constant.
const PER_INVOCATION: u32 = 8;
// All bits of an f32 but the sign. Magnitudes have the same order as these bits, and NaN comes after infinity.
const MAGNITUDE: u32 = 0x7fffffff;

@compute @workgroup_size(256)
fn check_finite(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let start = linear_index(workgroup, grid, 0, 256 * PER_INVOCATION) + local;
  for (var k = 0u; k < PER_INVOCATION; k++) {
    let i = start + k * 256;
    var at = i;
    if finite_params.ld != finite_params.cols {
      at = i / finite_params.cols * finite_params.ld + i % finite_params.cols;
    }
    if i < finite_params.count && (x[finite_params.offset + at] & MAGNITUDE) >= finite_params.limit {
      atomicMin(&first_non_finite[finite_params.slot], i);
      return;
    }
  }
}

@compute @workgroup_size(256)
fn check_symmetry(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) grid: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let index = linear_index(workgroup, grid, local, 256);
  if index >= symmetry_params.rows * symmetry_params.cols {
    return;
  }
  let r = index / symmetry_params.cols;
  let c = index % symmetry_params.cols;
  let i = symmetry_params.row0 + r;
  let j = symmetry_params.col0 + c;
  if i <= j {
    return;
  }
  let at = r * symmetry_params.ldstrip + j;
  let mirrored = upper[c * symmetry_params.ldupper + (i - symmetry_params.tile_col0)];
  // Each root is taken separately, because the product of two diagonal elements may overflow or underflow.
  let bound = symmetry_params.tolerance * sqrt(diagonal[i]) * sqrt(diagonal[j]);
  if abs(strip[at] - mirrored) > bound {
    atomicMin(&first_asymmetric[symmetry_params.slot], at);
  }
}
