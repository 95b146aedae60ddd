// Factors one diagonal block from its last column to its first and inverts the factor, in one workgroup. Both
// halves go by strips of 8, left-looking: what lies behind a strip is a product, summed in registers from
// coefficients staged in workgroup memory; only inside the strip is there a barrier a column.
//
// Invocation i owns row i of R while factoring, then column i of U while inverting. Until U overwrites it, `u`
// holds Rᵀ, so that the invocations read a column of R from consecutive addresses.

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

// Invocations, and the largest block.
const SIZE: u32 = 256;
const STRIP: u32 = 8;
// Coefficient columns staged at once.
const CHUNK: u32 = 32;

// Element s of the strip for invocation i is at s · SIZE + i.
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

// strip[s] ← −Σ_{l ≥ end} R[start + s, l] · u[l, local] for every s. R is read from Rᵀ in `u` while `factoring`, from `h` after.
fn sum_behind(local: u32, start: u32, end: u32, factoring: bool) {
  var low = vec4f();
  var high = vec4f();
  for (var chunk = end; chunk < params.size; chunk += CHUNK) {
    let column = chunk + local / 2;
    if local < CHUNK * 2 && column < params.size {
      let row = start + local % 2 * 4;
      if factoring {
        let at = u_at(column, row);
        staged[local] = vec4f(u[at], u[at + 1], u[at + 2], u[at + 3]);
      } else {
        staged[local] =
          vec4f(h[h_at(row, column)], h[h_at(row + 1, column)], h[h_at(row + 2, column)], h[h_at(row + 3, column)]);
      }
    }
    workgroupBarrier();
    if local < params.size {
      for (var t = 0u; t < min(CHUNK, params.size - chunk); t++) {
        let x = u[u_at(chunk + t, local)];
        low -= x * staged[2 * t];
        high -= x * staged[2 * t + 1];
      }
    }
    workgroupBarrier();
  }
  for (var s = 0u; s < 4; s++) {
    strip[s * SIZE + local] = low[s];
    strip[(s + 4) * SIZE + local] = high[s];
  }
}

// H = R·Rᵀ for the columns start … end−1, the ones after them being done. Returns the failing column + 1, or 0.
fn factor_strip(local: u32, start: u32, end: u32) -> u32 {
  // R[i, J] ← H[i, J] − Σ_l R[i, l]·R[J, l]
  sum_behind(local, start, end, true);
  if local < end {
    for (var j = max(start, local); j < end; j++) {
      strip[(j - start) * SIZE + local] += h[h_at(local, j)];
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
    if local <= j {
      let r = select(strip[column + local] / root, root, local == j);
      h[h_at(local, j)] = r;
      u[u_at(j, local)] = r;
      // Column j itself stays as it is, unscaled, for the others to read: one barrier a column is enough.
      for (var s = 0u; s < j - start; s++) {
        strip[s * SIZE + local] -= r * (strip[column + start + s] / root);
      }
    } else if local < params.size {
      h[h_at(local, j)] = 0;
    }
    if local == j {
      diagonal[params.first + j] = root;
    }
  }
  return failure;
}

// R·U = I for the rows start … end−1, the ones after them being done.
fn invert_strip(local: u32, start: u32, end: u32) {
  sum_behind(local, start, end, false);
  if local >= params.size {
    return;
  }
  for (var i = end; i > start; ) {
    i--;
    var sum = strip[(i - start) * SIZE + local] + select(0.0, 1.0, i == local);
    for (var k = i + 1; k < end; k++) {
      sum -= h[h_at(i, k)] * strip[(k - start) * SIZE + local];
    }
    let x = select(0.0, sum / h[h_at(i, i)], i <= local);
    strip[(i - start) * SIZE + local] = x;
    u[u_at(i, local)] = x;
  }
}

@compute @workgroup_size(SIZE)
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
