// Adds the lazy batch update to one block of weights, computes the keys by which its entries are selected, and
// counts the first digits of the keys. The kernel is described in src/device/kernels/selection/update_block.ts.
//
// The update is the matrix product A·U, where U is upper triangular. Each workgroup computes a patch of 64×64
// elements, and each invocation computes 4×4 of them in registers. The workgroup multiplies one slice at a time. A
// slice is 16 columns of A and the matching 16 rows of U, staged in workgroup memory. Elements past the edges count
// as zero.

struct Params {
  rows: u32,
  cols: u32,
  depth: u32,
  row0: u32,
  a_offset: u32,
  lda: u32,
  u_offset: u32,
  ldu: u32,
  w_offset: u32,
  ldw: u32,
  ldwork: u32,
  first: u32,
  words: u32,
  has_forced: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> u: array<vec4f>;
@group(0) @binding(2) var<storage, read> w: array<f32>;
@group(0) @binding(3) var<storage, read> scale: array<f32>;
@group(0) @binding(4) var<storage, read> forced: array<u32>;
@group(0) @binding(5) var<storage, read_write> work: array<f32>;
@group(0) @binding(6) var<storage, read_write> keys: array<u32>;
@group(0) @binding(7) var<storage, read_write> digits: array<atomic<u32>>;
@group(0) @binding(8) var<uniform> params: Params;

// The number of rows and of columns of a patch.
const PATCH: u32 = 64;
// The number of quads in a row of a patch.
const QUADS: u32 = PATCH / 4;
// The number of columns of A and of rows of U per slice, and the number of quads that a slice has of each row of A.
const DEPTH: u32 = 16;
const DEPTH_QUADS: u32 = DEPTH / 4;

// The slices of A and of U. Quad q of row r is at r·DEPTH_QUADS + q in the slice of A, and at r·QUADS + q in the
// slice of U. Each invocation stages one quad of each slice.
var<workgroup> a_slice: array<vec4f, PATCH * DEPTH_QUADS>;
var<workgroup> u_slice: array<vec4f, DEPTH * QUADS>;

fn a_at(r: u32, p: u32) -> f32 {
  if p >= params.depth {
    return 0;
  }
  let at = params.a_offset + r * params.lda + p;
  return a[at / 4][at % 4];
}

fn u_at(p: u32, c: u32) -> f32 {
  if c >= params.cols {
    return 0;
  }
  let at = params.u_offset + p * params.ldu + c;
  return u[at / 4][at % 4];
}

// The elements A[r, p … p+3].
fn fetch_a(r: u32, p: u32) -> vec4f {
  if r >= params.rows {
    return vec4f();
  }
  if (params.a_offset | params.lda) % 4 == 0 && p + 4 <= params.depth {
    return a[(params.a_offset + r * params.lda + p) / 4];
  }
  return vec4f(a_at(r, p), a_at(r, p + 1), a_at(r, p + 2), a_at(r, p + 3));
}

// The elements U[p, c … c+3].
fn fetch_u(p: u32, c: u32) -> vec4f {
  if p >= params.depth {
    return vec4f();
  }
  if (params.u_offset | params.ldu) % 4 == 0 && c + 4 <= params.cols {
    return u[(params.u_offset + p * params.ldu + c) / 4];
  }
  return vec4f(u_at(p, c), u_at(p, c + 1), u_at(p, c + 2), u_at(p, c + 3));
}

// Adds the product of four elements of a row of A and the matching quads of four rows of U to `sum`.
fn add_products(sum: vec4f, left: vec4f, u0: vec4f, u1: vec4f, u2: vec4f, u3: vec4f) -> vec4f {
  var quad = sum;
  quad = fma(vec4f(left.x), u0, quad);
  quad = fma(vec4f(left.y), u1, quad);
  quad = fma(vec4f(left.z), u2, quad);
  quad = fma(vec4f(left.w), u3, quad);
  return quad;
}

// Adds the update to W[r, c], stores the sum and its key, and counts the first digit of the key.
fn finish(r: u32, c: u32, update: f32) {
  if r >= params.rows || c >= params.cols {
    return;
  }
  let row = params.row0 + r;
  let column = params.first + c;
  let weight = w[params.w_offset + r * params.ldw + c] + update;
  work[row * params.ldwork + c] = weight;
  var is_forced = false;
  if params.has_forced == 1 {
    is_forced = ((forced[row * params.words + column / 32] >> (column % 32)) & 1) == 1;
  }
  let key = key_of_score(weight * scale[column], is_forced);
  keys[row * params.cols + c] = key;
  atomicAdd(&digit_counts[digit_of(key, 0)], 1);
}

fn finish_quad(r: u32, c: u32, update: vec4f) {
  finish(r, c, update.x);
  finish(r, c + 1, update.y);
  finish(r, c + 2, update.z);
  finish(r, c + 3, update.w);
}

@compute @workgroup_size(BINS)
fn update_block(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  let first_row = workgroup.y * PATCH;
  let first_column = workgroup.x * PATCH;
  // The invocation computes four rows and one quad of columns.
  let row = local / QUADS * 4;
  let quad = local % QUADS;
  clear_digit_counts(local);
  var sum0 = vec4f();
  var sum1 = vec4f();
  var sum2 = vec4f();
  var sum3 = vec4f();
  // Below its diagonal U is zero, so its rows past the last column of the patch are not needed.
  let end = min(params.depth, first_column + PATCH);
  for (var p = 0u; p < end; p += DEPTH) {
    workgroupBarrier(); // now every invocation has used the previous slice
    a_slice[local] = fetch_a(first_row + local / DEPTH_QUADS, p + local % DEPTH_QUADS * 4);
    u_slice[local] = fetch_u(p + local / QUADS, first_column + local % QUADS * 4);
    workgroupBarrier();
    for (var q = 0u; q < DEPTH_QUADS; q++) {
      let u0 = u_slice[4 * q * QUADS + quad];
      let u1 = u_slice[(4 * q + 1) * QUADS + quad];
      let u2 = u_slice[(4 * q + 2) * QUADS + quad];
      let u3 = u_slice[(4 * q + 3) * QUADS + quad];
      sum0 = add_products(sum0, a_slice[row * DEPTH_QUADS + q], u0, u1, u2, u3);
      sum1 = add_products(sum1, a_slice[(row + 1) * DEPTH_QUADS + q], u0, u1, u2, u3);
      sum2 = add_products(sum2, a_slice[(row + 2) * DEPTH_QUADS + q], u0, u1, u2, u3);
      sum3 = add_products(sum3, a_slice[(row + 3) * DEPTH_QUADS + q], u0, u1, u2, u3);
    }
  }
  workgroupBarrier(); // now the counts are cleared, even if there was no slice
  finish_quad(first_row + row, first_column + quad * 4, sum0);
  finish_quad(first_row + row + 1, first_column + quad * 4, sum1);
  finish_quad(first_row + row + 2, first_column + quad * 4, sum2);
  finish_quad(first_row + row + 3, first_column + quad * 4, sum3);
  workgroupBarrier();
  for (var b = 0u; b < BINS_PER_LANE; b++) {
    let counted = atomicLoad(&digit_counts[local + b * BINS]);
    if counted > 0 {
      atomicAdd(&digits[local + b * BINS], counted);
    }
  }
}
