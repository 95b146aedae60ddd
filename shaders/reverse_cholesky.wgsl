// Factors one diagonal block H of a matrix as H = R·Rᵀ with R upper triangular, and then inverts the factor,
// U = R⁻¹. One workgroup does all the work, because every step depends on the step before.
//
// The factorisation goes through R in segments of 8 columns, and the inversion goes through U in segments of
// 8 rows. Both go from the last segment to the first. For each segment, the contributions of all later
// segments are summed first. This sum is a matrix product in registers. Its coefficients are staged in
// workgroup memory in chunks of 32 columns. Only the factorisation within a segment needs one barrier per
// column.
//
// Lane i, the invocation with index i, computes row i of R and then column i of U. If there are fewer lanes
// than rows, lane i also computes the rows i + LANES, i + 2·LANES and so on. During the factorisation `u`
// contains Rᵀ, so that the lanes read a column of R from consecutive addresses. The inversion overwrites `u`
// with U.

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

// Columns of the largest block.
const SIZE: u32 = 256;
// Invocations of the workgroup. On a GPU, one lane per row hides latency. A software adapter, which runs
// shaders on the CPU, is faster with fewer lanes. It runs several lanes as one vector, and a vector does no
// work once all its rows are finished.
override LANES: u32 = SIZE;
// Columns per segment.
const SEGMENT: u32 = 8;
// Columns of coefficients per chunk.
const CHUNK: u32 = 32;

// The sum for column s of the segment and row i of R (or for row s of the segment and column i of U) is at s · SIZE +
// i.
var<workgroup> sums: array<f32, SEGMENT * SIZE>;
// The 8 coefficients of column t of the chunk are at 2t and 2t + 1.
var<workgroup> staged: array<vec4f, CHUNK * 2>;
// The status before this dispatch. It is not 0 if a pivot of an earlier block failed.
var<workgroup> failed: u32;

fn h_at(i: u32, j: u32) -> u32 {
  return params.offset + i * params.ld + j;
}

fn r_at(i: u32, j: u32) -> u32 {
  return params.r_offset + i * params.ldr + j;
}

fn u_at(i: u32, j: u32) -> u32 {
  return params.u_offset + i * params.ldu + j;
}

// Whether x is positive and not NaN. The function compares bits, because a compiler may assume that no float
// is NaN.
fn is_positive(x: f32) -> bool {
  return bitcast<u32>(x) - 1 < 0x7f800000;
}

// For every s < SEGMENT and i < size, sets the sum for s and i to
// −Σ_{l ≥ end} R[start + s, l] · u[l, i].
// If `factoring` is true, R[start + s, l] is read from Rᵀ in `u`, and otherwise from `r`.
fn sum_later(lane: u32, start: u32, end: u32, factoring: bool) {
  // Some sums are not needed. In the factorisation, these are the sums for the rows from `end` on, where the
  // segment's columns of R are zero. In the inversion, these are the sums for the columns before `start`,
  // where the later rows of U are zero.
  let first = select(start / LANES * LANES, 0, factoring) + lane;
  let past = select(params.size, end, factoring);
  for (var i = lane; i < params.size; i += LANES) {
    for (var s = 0u; s < SEGMENT; s++) {
      sums[s * SIZE + i] = 0;
    }
  }
  for (var chunk = end; chunk < params.size; chunk += CHUNK) {
    for (var part = lane; part < CHUNK * 2; part += LANES) {
      let column = chunk + part / 2;
      if column < params.size {
        let row = start + part % 2 * 4;
        if factoring {
          let at = u_at(column, row);
          staged[part] = vec4f(u[at], u[at + 1], u[at + 2], u[at + 3]);
        } else {
          staged[part] =
            vec4f(r[r_at(row, column)], r[r_at(row + 1, column)], r[r_at(row + 2, column)], r[r_at(row + 3, column)]);
        }
      }
    }
    workgroupBarrier();
    for (var i = first; i < past; i += LANES) {
      var low = vec4f();
      var high = vec4f();
      for (var t = 0u; t < min(CHUNK, params.size - chunk); t++) {
        let x = u[u_at(chunk + t, i)];
        low -= x * staged[2 * t];
        high -= x * staged[2 * t + 1];
      }
      for (var s = 0u; s < 4; s++) {
        sums[s * SIZE + i] += low[s];
        sums[(s + 4) * SIZE + i] += high[s];
      }
    }
    workgroupBarrier();
  }
}

// Computes the columns start … end−1 of R, where H = R·Rᵀ. The later columns must be finished. Returns 1 + j,
// where j is the last column whose pivot is not positive, or 0 if all pivots are positive.
fn factor_segment(lane: u32, start: u32, end: u32) -> u32 {
  // R[i, J] ← H[i, J] − Σ_{l ≥ end} R[i, l]·R[J, l], where J are the columns of the segment.
  sum_later(lane, start, end, true);
  for (var i = lane; i < end; i += LANES) {
    for (var j = max(start, i); j < end; j++) {
      sums[(j - start) * SIZE + i] += h[h_at(i, j)];
    }
  }
  var failure = 0u;
  for (var j = end; j > start; ) {
    j--;
    let column = (j - start) * SIZE;
    workgroupBarrier();
    let pivot = sums[column + j];
    failure = select(failure, j + 1, failure == 0 && !is_positive(pivot));
    let root = sqrt(pivot);
    for (var i = lane; i <= j; i += LANES) {
      let x = select(sums[column + i] / root, root, i == j);
      r[r_at(i, j)] = x;
      u[u_at(j, i)] = x;
      // The sums of column j are not overwritten, because other lanes still read them. So one barrier per
      // column is enough.
      for (var s = 0u; s < j - start; s++) {
        sums[s * SIZE + i] -= x * (sums[column + start + s] / root);
      }
      if i == j {
        diagonal[params.first + j] = root;
      }
    }
    for (var i = lane; i < params.size; i += LANES) {
      if i > j {
        r[r_at(i, j)] = 0;
      }
    }
  }
  return failure;
}

// Computes the rows start … end−1 of U, where R·U = I. The later rows must be finished.
fn invert_segment(lane: u32, start: u32, end: u32) {
  sum_later(lane, start, end, false);
  for (var column = lane; column < params.size; column += LANES) {
    for (var i = end; i > start; ) {
      i--;
      var sum = sums[(i - start) * SIZE + column] + select(0.0, 1.0, i == column);
      for (var k = i + 1; k < end; k++) {
        sum -= r[r_at(i, k)] * sums[(k - start) * SIZE + column];
      }
      let x = select(0.0, sum / r[r_at(i, i)], i <= column);
      sums[(i - start) * SIZE + column] = x;
      u[u_at(i, column)] = x;
    }
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
  // The last segment is handled first. Only this segment may have fewer than SEGMENT columns.
  let last = (params.size - 1) / SEGMENT * SEGMENT;
  var failure = 0u;
  for (var start = last; ; start -= SEGMENT) {
    let found = factor_segment(lane, start, min(start + SEGMENT, params.size));
    failure = select(failure, found, failure == 0);
    storageBarrier();
    workgroupBarrier();
    if start == 0 {
      break;
    }
  }
  if lane == 0 && failure > 0 {
    status[0] = params.first + failure;
  }
  for (var start = last; ; start -= SEGMENT) {
    invert_segment(lane, start, min(start + SEGMENT, params.size));
    workgroupBarrier();
    if start == 0 {
      break;
    }
  }
}
