// C ← α·op(A)·op(B) + β·C for discrete GPUs, where op(X) is X or its transpose. Each workgroup computes a patch of
// ROWS × COLS elements of C, and each invocation computes 8×8 of them in registers.
//
// The workgroup multiplies one slice at a time. A slice is 8 columns of op(A) and the matching 8 rows of op(B), and is
// staged in workgroup memory. There are two buffers for slices. While the current slice is multiplied, the next one is
// fetched into registers, so one barrier per slice is enough. In workgroup memory a quad is four neighbouring rows of
// op(A) or columns of op(B). Four elements that are neighbours in memory are a single load if their address is a
// multiple of 16 bytes. Elements past m, n and k count as zero.
//
// Arrays in registers have constant indices only. With a variable as the index, a driver may move the whole
// array to memory, which is far slower.

struct Params {
  m: u32, n: u32, k: u32,
  a_offset: u32, lda: u32,
  b_offset: u32, ldb: u32,
  c_offset: u32, ldc: u32,
  alpha: f32, beta: f32,
  upper: u32,
}

@group(0) @binding(0) var<storage, read> a: array<vec4f>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// The rows and columns of a workgroup's patch of C, each 64 or 128, and the invocations per workgroup, which
// must be ROWS · COLS / 64.
override ROWS: u32 = 128u;
override COLS: u32 = 128u;
override INVOCATIONS: u32 = 256u;
// Columns of op(A), and rows of op(B), per slice.
const DEPTH = 8u;
// Each invocation computes EDGE × EDGE elements of C. Its rows are two quads that lie half a patch apart, and
// its columns too.
const EDGE = 8u;

// The two buffers for slices, with shape (2, DEPTH, quads of rows or columns). Both arrays together take at
// most 16 KiB.
var<workgroup> a_slices: array<vec4f, 2 * DEPTH * ROWS / 4>;
var<workgroup> b_slices: array<vec4f, 2 * DEPTH * COLS / 4>;

// Returns the index within a slice of quad number `quad` at depth `depth`. A depth is one column of op(A) or
// one row of op(B), and has `quads` quads. The exclusive or places the quads that a warp stores at the same
// time in different memory banks.
fn slice_index(depth: u32, quad: u32, quads: u32) -> u32 {
  return depth * quads + (quad ^ depth);
}

fn a_at(i: u32, p: u32, transposed: bool) -> f32 {
  if i >= params.m || p >= params.k { return 0.0; }
  let at = params.a_offset + select(i * params.lda + p, p * params.lda + i, transposed);
  return a[at / 4u][at % 4u];
}

fn b_at(p: u32, j: u32, transposed: bool) -> f32 {
  if j >= params.n || p >= params.k { return 0.0; }
  let at = params.b_offset + select(p * params.ldb + j, j * params.ldb + p, transposed);
  return b[at / 4u][at % 4u];
}

// The elements op(A)[i … i+3, p] if A is transposed, and op(A)[i, p … p+3] otherwise.
fn fetch_a(i: u32, p: u32, transposed: bool) -> vec4f {
  let aligned = (params.a_offset | params.lda) % 4u == 0u;
  if transposed {
    if aligned && i + 4u <= params.m && p < params.k {
      return a[(params.a_offset + p * params.lda + i) / 4u];
    }
    return vec4f(a_at(i, p, true), a_at(i + 1u, p, true), a_at(i + 2u, p, true), a_at(i + 3u, p, true));
  }
  if aligned && i < params.m && p + 4u <= params.k {
    return a[(params.a_offset + i * params.lda + p) / 4u];
  }
  return vec4f(a_at(i, p, false), a_at(i, p + 1u, false), a_at(i, p + 2u, false), a_at(i, p + 3u, false));
}

// The elements op(B)[p … p+3, j] if B is transposed, and op(B)[p, j … j+3] otherwise.
fn fetch_b(p: u32, j: u32, transposed: bool) -> vec4f {
  let aligned = (params.b_offset | params.ldb) % 4u == 0u;
  if transposed {
    if aligned && j < params.n && p + 4u <= params.k {
      return b[(params.b_offset + j * params.ldb + p) / 4u];
    }
    return vec4f(b_at(p, j, true), b_at(p + 1u, j, true), b_at(p + 2u, j, true), b_at(p + 3u, j, true));
  }
  if aligned && j + 4u <= params.n && p < params.k {
    return b[(params.b_offset + p * params.ldb + j) / 4u];
  }
  return vec4f(b_at(p, j, false), b_at(p, j + 1u, false), b_at(p, j + 2u, false), b_at(p, j + 3u, false));
}

// Computes C[i, j] from α, β and `product`, and writes it if it is inside of C. `row` is the index of C[i, 0].
fn store_element(row: u32, j: u32, product: f32) {
  if j >= params.n { return; }
  var value = params.alpha * product;
  // C is not read if β = 0, because it may then contain anything, even NaN.
  if params.beta != 0.0 { value += params.beta * c[row + j]; }
  c[row + j] = value;
}

// Computes the quads C[i, j … j+3] and C[i, j + COLS/2 … j + COLS/2 + 3], and writes their elements that are
// inside of C.
fn store(i: u32, j: u32, low: vec4f, high: vec4f) {
  if i >= params.m { return; }
  let row = params.c_offset + i * params.ldc;
  store_element(row, j, low.x);
  store_element(row, j + 1u, low.y);
  store_element(row, j + 2u, low.z);
  store_element(row, j + 3u, low.w);
  let right = j + COLS / 2u;
  store_element(row, right, high.x);
  store_element(row, right + 1u, high.y);
  store_element(row, right + 2u, high.z);
  store_element(row, right + 3u, high.w);
}

// The elements that an invocation fetches of a slice of one operand.
// - If neighbouring rows of op(A), or columns of op(B), are neighbours in memory, `e0` is a quad. If the patch is
//   64 wide in the direction of the other operand, `e1` is a second quad.
// - If neighbours along the depth are neighbours in memory, the members are a square of 4 × 4 elements, one row of op(A)
//   or column of op(B) each. The square is transposed into quads when it is stored, because invocations must
//   not write different components of the same vector at the same time. Few invocations have a square.
struct Fetched {
  e0: vec4f,
  e1: vec4f,
  e2: vec4f,
  e3: vec4f,
}

// The depth and the row or column of the first element of square `item`. The squares of the same rows or
// columns are fetched by neighbouring invocations, because they are neighbours in memory.
fn square_start(item: u32) -> vec2u {
  return vec2u(4u * (item % (DEPTH / 4u)), 4u * (item / (DEPTH / 4u)));
}

// The squares of op(A) are fetched by the first ROWS / 2 invocations, and the squares of op(B) by the last COLS / 2.
fn has_a_square(local: u32) -> bool {
  return local < ROWS / 4u * (DEPTH / 4u);
}

fn b_square(local: u32) -> u32 {
  return local - (INVOCATIONS - COLS / 4u * (DEPTH / 4u));
}

fn has_b_square(local: u32) -> bool {
  return local >= INVOCATIONS - COLS / 4u * (DEPTH / 4u);
}

fn fetch_a_slice(i0: u32, p0: u32, local: u32, transposed: bool) -> Fetched {
  var fetched: Fetched;
  if transposed {
    let quads = ROWS / 4u;
    fetched.e0 = fetch_a(i0 + 4u * (local % quads), p0 + local / quads, true);
    let second = local + INVOCATIONS;
    if COLS < 128u { fetched.e1 = fetch_a(i0 + 4u * (second % quads), p0 + second / quads, true); }
  } else if has_a_square(local) {
    let start = square_start(local);
    let i = i0 + start.y;
    let p = p0 + start.x;
    fetched = Fetched(
      fetch_a(i, p, false), fetch_a(i + 1u, p, false), fetch_a(i + 2u, p, false), fetch_a(i + 3u, p, false),
    );
  }
  return fetched;
}

fn fetch_b_slice(j0: u32, p0: u32, local: u32, transposed: bool) -> Fetched {
  var fetched: Fetched;
  if !transposed {
    let quads = COLS / 4u;
    fetched.e0 = fetch_b(p0 + local / quads, j0 + 4u * (local % quads), false);
    let second = local + INVOCATIONS;
    if ROWS < 128u { fetched.e1 = fetch_b(p0 + second / quads, j0 + 4u * (second % quads), false); }
  } else if has_b_square(local) {
    let start = square_start(b_square(local));
    let j = j0 + start.y;
    let p = p0 + start.x;
    fetched = Fetched(
      fetch_b(p, j, true), fetch_b(p, j + 1u, true), fetch_b(p, j + 2u, true), fetch_b(p, j + 3u, true),
    );
  }
  return fetched;
}

fn store_a_slice(buffer: u32, local: u32, fetched: Fetched, transposed: bool) {
  let quads = ROWS / 4u;
  let base = buffer * DEPTH * quads;
  if transposed {
    a_slices[base + slice_index(local / quads, local % quads, quads)] = fetched.e0;
    let second = local + INVOCATIONS;
    if COLS < 128u { a_slices[base + slice_index(second / quads, second % quads, quads)] = fetched.e1; }
  } else if has_a_square(local) {
    let start = square_start(local);
    let square = transpose(mat4x4f(fetched.e0, fetched.e1, fetched.e2, fetched.e3));
    a_slices[base + slice_index(start.x, start.y / 4u, quads)] = square[0];
    a_slices[base + slice_index(start.x + 1u, start.y / 4u, quads)] = square[1];
    a_slices[base + slice_index(start.x + 2u, start.y / 4u, quads)] = square[2];
    a_slices[base + slice_index(start.x + 3u, start.y / 4u, quads)] = square[3];
  }
}

fn store_b_slice(buffer: u32, local: u32, fetched: Fetched, transposed: bool) {
  let quads = COLS / 4u;
  let base = buffer * DEPTH * quads;
  if !transposed {
    b_slices[base + slice_index(local / quads, local % quads, quads)] = fetched.e0;
    let second = local + INVOCATIONS;
    if ROWS < 128u { b_slices[base + slice_index(second / quads, second % quads, quads)] = fetched.e1; }
  } else if has_b_square(local) {
    let start = square_start(b_square(local));
    let square = transpose(mat4x4f(fetched.e0, fetched.e1, fetched.e2, fetched.e3));
    b_slices[base + slice_index(start.x, start.y / 4u, quads)] = square[0];
    b_slices[base + slice_index(start.x + 1u, start.y / 4u, quads)] = square[1];
    b_slices[base + slice_index(start.x + 2u, start.y / 4u, quads)] = square[2];
    b_slices[base + slice_index(start.x + 3u, start.y / 4u, quads)] = square[3];
  }
}

fn gemm(workgroup: vec3u, local: u32, a_transposed: bool, b_transposed: bool) {
  let i0 = workgroup.y * ROWS;
  let j0 = workgroup.x * COLS;
  // With upper = 1 + d, only the elements with i ≤ j + d are needed. This patch may have none of them.
  if params.upper != 0u && i0 >= j0 + COLS + params.upper - 1u { return; }

  // 32 invocations, which most GPUs run together, compute 4 × 8 parts of the patch, because a nearly square
  // arrangement reads the fewest different quads of the slices.
  let across = COLS / EDGE;
  let group = local / 32u;
  let row_quad = group / (COLS / 64u) * 4u + local % 32u / 8u;
  let col_quad = group % (COLS / 64u) * 8u + local % 8u;
  // sums[2·r + h] is quad h of row r, where r < 8 counts the rows of this invocation, and h < 2 the quads of
  // each row.
  var sums: array<vec4f, 16>;

  store_a_slice(0u, local, fetch_a_slice(i0, 0u, local, a_transposed), a_transposed);
  store_b_slice(0u, local, fetch_b_slice(j0, 0u, local, b_transposed), b_transposed);
  workgroupBarrier();

  var current = 0u;
  for (var p = 0u; p < params.k; p += DEPTH) {
    let next_a = fetch_a_slice(i0, p + DEPTH, local, a_transposed);
    let next_b = fetch_b_slice(j0, p + DEPTH, local, b_transposed);
    let a_base = current * DEPTH * ROWS / 4u;
    let b_base = current * DEPTH * COLS / 4u;
    for (var depth = 0u; depth < DEPTH; depth++) {
      let a0 = a_slices[a_base + slice_index(depth, row_quad, ROWS / 4u)];
      let a1 = a_slices[a_base + slice_index(depth, row_quad + ROWS / EDGE, ROWS / 4u)];
      let b0 = b_slices[b_base + slice_index(depth, col_quad, COLS / 4u)];
      let b1 = b_slices[b_base + slice_index(depth, col_quad + across, COLS / 4u)];
      // The products are written out, because constant indices keep `sums` in registers even if the driver
      // does not unroll loops.
      sums[0] = fma(vec4f(a0.x), b0, sums[0]);
      sums[1] = fma(vec4f(a0.x), b1, sums[1]);
      sums[2] = fma(vec4f(a0.y), b0, sums[2]);
      sums[3] = fma(vec4f(a0.y), b1, sums[3]);
      sums[4] = fma(vec4f(a0.z), b0, sums[4]);
      sums[5] = fma(vec4f(a0.z), b1, sums[5]);
      sums[6] = fma(vec4f(a0.w), b0, sums[6]);
      sums[7] = fma(vec4f(a0.w), b1, sums[7]);
      sums[8] = fma(vec4f(a1.x), b0, sums[8]);
      sums[9] = fma(vec4f(a1.x), b1, sums[9]);
      sums[10] = fma(vec4f(a1.y), b0, sums[10]);
      sums[11] = fma(vec4f(a1.y), b1, sums[11]);
      sums[12] = fma(vec4f(a1.z), b0, sums[12]);
      sums[13] = fma(vec4f(a1.z), b1, sums[13]);
      sums[14] = fma(vec4f(a1.w), b0, sums[14]);
      sums[15] = fma(vec4f(a1.w), b1, sums[15]);
    }
    current = 1u - current;
    store_a_slice(current, local, next_a, a_transposed);
    store_b_slice(current, local, next_b, b_transposed);
    workgroupBarrier();
  }

  let i = i0 + 4u * row_quad;
  let j = j0 + 4u * col_quad;
  store(i, j, sums[0], sums[1]);
  store(i + 1u, j, sums[2], sums[3]);
  store(i + 2u, j, sums[4], sums[5]);
  store(i + 3u, j, sums[6], sums[7]);
  store(i + ROWS / 2u, j, sums[8], sums[9]);
  store(i + ROWS / 2u + 1u, j, sums[10], sums[11]);
  store(i + ROWS / 2u + 2u, j, sums[12], sums[13]);
  store(i + ROWS / 2u + 3u, j, sums[14], sums[15]);
}

@compute @workgroup_size(INVOCATIONS)
fn gemm_nn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  gemm(workgroup, local, false, false);
}

@compute @workgroup_size(INVOCATIONS)
fn gemm_nt(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  gemm(workgroup, local, false, true);
}

@compute @workgroup_size(INVOCATIONS)
fn gemm_tn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  gemm(workgroup, local, true, false);
}
