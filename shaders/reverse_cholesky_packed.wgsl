// Factors one diagonal block H = R·Rᵀ with R upper triangular, and inverts the factor, U = R⁻¹, like
// reverse_cholesky.wgsl. Here the upper triangle of the block is in workgroup memory all the time, so the inner
// loops never read global memory. That takes more workgroup memory than every adapter has, so blocks must be
// small.
//
// The factorisation is right-looking. It goes from the last column to the first, and subtracts the product of
// a finished column with itself from all earlier columns. The triangle keeps the columns without their scale:
// column j of R is the stored column times 1/√pivot. So one barrier per column is enough, because nothing that
// other invocations read is changed between two barriers. The inversion goes from the first column of U to the
// last, and overwrites the triangle.

struct Params {
  size: u32,
  offset: u32,
  ld: u32,
  r_offset: u32,
  ldr: u32,
  u_offset: u32,
  ldu: u32,
  first: u32,
}

@group(0) @binding(0) var<storage, read> h: array<f32>;
@group(0) @binding(1) var<storage, read_write> r: array<f32>;
@group(0) @binding(2) var<storage, read_write> u: array<f32>;
@group(0) @binding(3) var<storage, read_write> diagonal: array<f32>;
@group(0) @binding(4) var<storage, read_write> status: array<u32>;
@group(0) @binding(5) var<uniform> params: Params;

// Columns of the largest block. The declaration in src/device/kernels/reverse_cholesky.ts sets it.
override LARGEST: u32 = 128;
// Invocations of the workgroup.
const LANES: u32 = 256;

// The upper triangle by columns: element (i, j) with i ≤ j is at j·(j+1)/2 + i. The invocations that handle
// neighbouring rows of a column access neighbouring elements.
var<workgroup> triangle: array<f32, LARGEST * (LARGEST + 1) / 2>;
// √pivot and 1/√pivot of each column.
var<workgroup> roots: array<f32, LARGEST>;
var<workgroup> scales: array<f32, LARGEST>;
// The status before this dispatch. It is not 0 if a pivot of an earlier block failed.
var<workgroup> failed: u32;

fn at(i: u32, j: u32) -> u32 {
  return j * (j + 1) / 2 + i;
}

// Whether x is positive and not NaN. The function compares bits, because a compiler may assume that no float
// is NaN.
fn is_positive(x: f32) -> bool {
  return bitcast<u32>(x) - 1 < 0x7f800000;
}

fn load(lane: u32) {
  for (var e = lane; e < params.size * params.size; e += LANES) {
    let i = e / params.size;
    let j = e % params.size;
    if i <= j {
      triangle[at(i, j)] = h[params.offset + i * params.ld + j];
    }
  }
}

// Returns 1 + j, where j is the last column whose pivot is not positive, or 0 if all pivots are positive.
fn factor(lane: u32) -> u32 {
  // Neighbouring invocations handle neighbouring rows. If there are fewer rows than invocations, several of
  // them share a row, and each handles every `step`-th column.
  let row = lane % LARGEST;
  let share = lane / LARGEST;
  let step = max(LANES / LARGEST, 1);
  var failure = 0u;
  for (var j = params.size; j > 0; ) {
    j--;
    let pivot = triangle[at(j, j)];
    failure = select(failure, j + 1, failure == 0 && !is_positive(pivot));
    let root = sqrt(pivot);
    let scale = 1 / root;
    if lane == 0 {
      roots[j] = root;
      scales[j] = scale;
    }
    if row < j && share < step {
      let x = triangle[at(row, j)] * scale;
      for (var c = row + share; c < j; c += step) {
        triangle[at(row, c)] -= x * (triangle[at(c, j)] * scale);
      }
    }
    workgroupBarrier();
  }
  return failure;
}

fn store_factor(lane: u32) {
  for (var e = lane; e < params.size * params.size; e += LANES) {
    let i = e / params.size;
    let j = e % params.size;
    var x = 0.0;
    if i < j {
      x = triangle[at(i, j)] * scales[j];
    } else if i == j {
      x = roots[j];
    }
    r[params.r_offset + i * params.ldr + j] = x;
  }
  for (var j = lane; j < params.size; j += LANES) {
    diagonal[params.first + j] = roots[j];
  }
}

// Column j of U above its diagonal is −U[0…j−1, 0…j−1]·R[0…j−1, j]·U[j, j], and U[j, j] = 1/R[j, j].
fn invert(lane: u32) {
  for (var j = 0u; j < params.size; j++) {
    let scale = scales[j];
    var sum = 0.0;
    if lane < j {
      for (var k = lane; k < j; k++) {
        sum += triangle[at(lane, k)] * triangle[at(k, j)];
      }
    }
    workgroupBarrier();
    if lane < j {
      triangle[at(lane, j)] = -(sum * scale) * scale;
    } else if lane == j {
      triangle[at(j, j)] = scale;
    }
    workgroupBarrier();
  }
}

fn store_inverse(lane: u32) {
  for (var e = lane; e < params.size * params.size; e += LANES) {
    let i = e / params.size;
    let j = e % params.size;
    var x = 0.0;
    if i <= j {
      x = triangle[at(i, j)];
    }
    u[params.u_offset + i * params.ldu + j] = x;
  }
}

@compute @workgroup_size(LANES)
fn reverse_cholesky(@builtin(local_invocation_index) lane: u32) {
  if lane == 0 {
    failed = status[0];
  }
  if workgroupUniformLoad(&failed) != 0 {
    return;
  }
  load(lane);
  workgroupBarrier();
  let failure = factor(lane);
  if lane == 0 && failure > 0 {
    status[0] = params.first + failure;
  }
  store_factor(lane);
  workgroupBarrier();
  invert(lane);
  store_inverse(lane);
}
