// Factors one diagonal block from its last column to its first and inverts the factor, in one workgroup. Both
// halves go by strips of 8, left-looking: what lies behind a strip is a product, summed in registers from
// coefficients staged in workgroup memory; only inside the strip is there a barrier a column.
//
// Invocation i owns row i of R while factoring, then column i of U while inverting; with fewer invocations than rows, also
// those LANES after it. Until U overwrites it, `u` holds Rᵀ, so that the invocations read a column of R from consecutive addresses.

struct Params {
  size: u32,
  offset: u32,
  ld: u32,
  u_offset: u32,
  ldu: u32,
  first: u32,
}

@group(0) @binding(0) var<storage, read_write> h: array<f32>;
@group(0) @binding(1) var<storage, read_write> u: array<f32>;
@group(0) @binding(2) var<storage, read_write> diagonal: array<f32>;
@group(0) @binding(3) var<storage, read_write> status: array<u32>;
@group(0) @binding(4) var<uniform> params: Params;

// The largest block.
const SIZE: u32 = 256;
// Invocations. One a row hides the latency of a GPU; a software adapter wants one vector of them, which works on no row that is done.
override LANES: u32 = SIZE;
const STRIP: u32 = 8;
// Coefficient columns staged at once.
const CHUNK: u32 = 32;

// Element s of the strip for row (or column of U) i is at s · SIZE + i.
var<workgroup> strip: array<f32, STRIP * SIZE>;
// The 8 coefficients of chunk column t are at 2t and 2t + 1.
var<workgroup> staged: array<vec4f, CHUNK * 2>;
var<workgroup> failed: u32;

fn h_at(i: u32, j: u32) -> u32 {
  return params.offset + i * params.ld + j;
}

fn u_at(i: u32, j: u32) -> u32 {
  return params.u_offset + i * params.ldu + j;
}

// Positive, and not NaN: by its bits, because a comparison may be compiled as if NaN did not exist.
fn is_positive(x: f32) -> bool {
  return bitcast<u32>(x) - 1 < 0x7f800000;
}

// strip[s] of i ← −Σ_{l ≥ end} R[start + s, l] · u[l, i] for every s and i. R is read from Rᵀ in `u` while `factoring`, from `h` after.
fn sum_behind(local: u32, start: u32, end: u32, factoring: bool) {
  // While factoring, rows from `end` on are done; while inverting, columns before `start` are zero there.
  let first = select(start / LANES * LANES, 0, factoring) + local;
  let past = select(params.size, end, factoring);
  for (var i = local; i < params.size; i += LANES) {
    for (var s = 0u; s < STRIP; s++) {
      strip[s * SIZE + i] = 0;
    }
  }
  for (var chunk = end; chunk < params.size; chunk += CHUNK) {
    for (var part = local; part < CHUNK * 2; part += LANES) {
      let column = chunk + part / 2;
      if column < params.size {
        let row = start + part % 2 * 4;
        if factoring {
          let at = u_at(column, row);
          staged[part] = vec4f(u[at], u[at + 1], u[at + 2], u[at + 3]);
        } else {
          staged[part] =
            vec4f(h[h_at(row, column)], h[h_at(row + 1, column)], h[h_at(row + 2, column)], h[h_at(row + 3, column)]);
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
        strip[s * SIZE + i] += low[s];
        strip[(s + 4) * SIZE + i] += high[s];
      }
    }
    workgroupBarrier();
  }
}

// H = R·Rᵀ for the columns start … end−1, the ones after them being done. Returns the failing column + 1, or 0.
fn factor_strip(local: u32, start: u32, end: u32) -> u32 {
  // R[i, J] ← H[i, J] − Σ_l R[i, l]·R[J, l]
  sum_behind(local, start, end, true);
  for (var i = local; i < end; i += LANES) {
    for (var j = max(start, i); j < end; j++) {
      strip[(j - start) * SIZE + i] += h[h_at(i, j)];
    }
  }
  var failure = 0u;
  for (var j = end; j > start; ) {
    j--;
    let column = (j - start) * SIZE;
    workgroupBarrier();
    let pivot = strip[column + j];
    failure = select(failure, j + 1, failure == 0 && !is_positive(pivot));
    let root = sqrt(pivot);
    for (var i = local; i <= j; i += LANES) {
      let r = select(strip[column + i] / root, root, i == j);
      h[h_at(i, j)] = r;
      u[u_at(j, i)] = r;
      // Column j itself stays as it is, unscaled, for the others to read: one barrier a column is enough.
      for (var s = 0u; s < j - start; s++) {
        strip[s * SIZE + i] -= r * (strip[column + start + s] / root);
      }
      if i == j {
        diagonal[params.first + j] = root;
      }
    }
    for (var i = local; i < params.size; i += LANES) {
      if i > j {
        h[h_at(i, j)] = 0;
      }
    }
  }
  return failure;
}

// R·U = I for the rows start … end−1, the ones after them being done.
fn invert_strip(local: u32, start: u32, end: u32) {
  sum_behind(local, start, end, false);
  for (var column = local; column < params.size; column += LANES) {
    for (var i = end; i > start; ) {
      i--;
      var sum = strip[(i - start) * SIZE + column] + select(0.0, 1.0, i == column);
      for (var k = i + 1; k < end; k++) {
        sum -= h[h_at(i, k)] * strip[(k - start) * SIZE + column];
      }
      let x = select(0.0, sum / h[h_at(i, i)], i <= column);
      strip[(i - start) * SIZE + column] = x;
      u[u_at(i, column)] = x;
    }
  }
}

@compute @workgroup_size(LANES)
fn reverse_cholesky(@builtin(local_invocation_index) local: u32) {
  if local == 0 {
    failed = status[0];
  }
  if workgroupUniformLoad(&failed) != 0 {
    return;
  }
  // Only the first strip taken, the last of the block, can be narrower than STRIP.
  let last = (params.size - 1) / STRIP * STRIP;
  var failure = 0u;
  for (var start = last; ; start -= STRIP) {
    let found = factor_strip(local, start, min(start + STRIP, params.size));
    failure = select(failure, found, failure == 0);
    storageBarrier();
    workgroupBarrier();
    if start == 0 {
      break;
    }
  }
  if local == 0 && failure > 0 {
    status[0] = params.first + failure;
  }
  for (var start = last; ; start -= STRIP) {
    invert_strip(local, start, min(start + STRIP, params.size));
    workgroupBarrier();
    if start == 0 {
      break;
    }
  }
}
