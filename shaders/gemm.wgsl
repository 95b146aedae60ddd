// C ← α·op(A)·op(B) + β·C for discrete GPUs, where op(X) is X or its transpose. Each workgroup computes a patch of ROWS × COLS elements of
// C, and each invocation computes 8×8 of them in registers.
//
// The workgroup multiplies one slice at a time. A slice is 8 columns of op(A) and the matching 8 rows of
// op(B), and is staged in workgroup memory. There are two buffers for slices. While the current slice is
// multiplied, the next one is fetched into registers, so one barrier per slice is enough. A quad is four
// neighbouring rows of op(A) or columns of op(B). It is a single load if its elements are adjacent in memory.
// Elements past m, n and k count as zero.

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

// Returns the depth and the quad number of item `item` of a slice. Neighbouring items are fetched by
// neighbouring invocations, so they should be neighbours in memory. In memory, the elements of the operand
// are contiguous along the depth if `depth_contiguous` is true, and along the quads otherwise.
fn assignment(item: u32, quads: u32, depth_contiguous: bool) -> vec2u {
  return select(vec2u(item / quads, item % quads), vec2u(item % DEPTH, item / DEPTH), depth_contiguous);
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

// The quad op(A)[i … i+3, p].
fn fetch_a(i: u32, p: u32, transposed: bool) -> vec4f {
  if transposed && (params.a_offset | params.lda) % 4u == 0u && i + 4u <= params.m && p < params.k {
    return a[(params.a_offset + p * params.lda + i) / 4u];
  }
  return vec4f(a_at(i, p, transposed), a_at(i + 1u, p, transposed), a_at(i + 2u, p, transposed), a_at(i + 3u, p, transposed));
}

// The quad op(B)[p, j … j+3].
fn fetch_b(p: u32, j: u32, transposed: bool) -> vec4f {
  if !transposed && (params.b_offset | params.ldb) % 4u == 0u && j + 4u <= params.n && p < params.k {
    return b[(params.b_offset + p * params.ldb + j) / 4u];
  }
  return vec4f(b_at(p, j, transposed), b_at(p, j + 1u, transposed), b_at(p, j + 2u, transposed), b_at(p, j + 3u, transposed));
}

// Computes the quad C[i, j … j+3] from α, β and `product`, and writes its elements that are inside of C.
fn store(i: u32, j: u32, product: vec4f) {
  if i >= params.m { return; }
  for (var e = 0u; e < 4u && j + e < params.n; e++) {
    let at = params.c_offset + i * params.ldc + j + e;
    var value = params.alpha * product[e];
    // C is not read if β = 0, because it may then contain anything, even NaN.
    if params.beta != 0.0 { value += params.beta * c[at]; }
    c[at] = value;
  }
}

// The one or two quads of a slice that an invocation fetches from one operand.
alias Fetched = array<vec4f, 2>;

fn fetch_a_slice(i0: u32, p0: u32, local: u32, transposed: bool) -> Fetched {
  var fetched: Fetched;
  for (var f = 0u; f < 128u / COLS; f++) {
    let part = assignment(local + f * INVOCATIONS, ROWS / 4u, !transposed);
    fetched[f] = fetch_a(i0 + 4u * part.y, p0 + part.x, transposed);
  }
  return fetched;
}

fn fetch_b_slice(j0: u32, p0: u32, local: u32, transposed: bool) -> Fetched {
  var fetched: Fetched;
  for (var f = 0u; f < 128u / ROWS; f++) {
    let part = assignment(local + f * INVOCATIONS, COLS / 4u, transposed);
    fetched[f] = fetch_b(p0 + part.x, j0 + 4u * part.y, transposed);
  }
  return fetched;
}

// Stores the fetched quads in slice buffer `buffer`, which is 0 or 1.
fn store_slices(buffer: u32, local: u32, next_a: Fetched, next_b: Fetched, a_transposed: bool, b_transposed: bool) {
  for (var f = 0u; f < 128u / COLS; f++) {
    let part = assignment(local + f * INVOCATIONS, ROWS / 4u, !a_transposed);
    a_slices[buffer * DEPTH * ROWS / 4u + slice_index(part.x, part.y, ROWS / 4u)] = next_a[f];
  }
  for (var f = 0u; f < 128u / ROWS; f++) {
    let part = assignment(local + f * INVOCATIONS, COLS / 4u, b_transposed);
    b_slices[buffer * DEPTH * COLS / 4u + slice_index(part.x, part.y, COLS / 4u)] = next_b[f];
  }
}

fn gemm(workgroup: vec3u, local: u32, a_transposed: bool, b_transposed: bool) {
  let i0 = workgroup.y * ROWS;
  let j0 = workgroup.x * COLS;
  // With upper = 1 + d, only the elements with i ≤ j + d are needed. This patch may have none of them.
  if params.upper != 0u && i0 >= j0 + COLS + params.upper - 1u { return; }

  let across = COLS / EDGE;
  let row_quad = local / across;
  let col_quad = local % across;
  // sums[2·r + h] is quad h of row r, where r < 8 counts the rows of this invocation, and h < 2 the quads of
  // each row.
  var sums: array<vec4f, 16>;

  store_slices(
    0u, local, fetch_a_slice(i0, 0u, local, a_transposed), fetch_b_slice(j0, 0u, local, b_transposed),
    a_transposed, b_transposed,
  );
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
    store_slices(current, local, next_a, next_b, a_transposed, b_transposed);
    workgroupBarrier();
  }

  for (var r = 0u; r < 8u; r++) {
    let i = i0 + 4u * row_quad + select(r, r - 4u + ROWS / 2u, r >= 4u);
    store(i, j0 + 4u * col_quad, sums[2u * r]);
    store(i, j0 + 4u * col_quad + COLS / 2u, sums[2u * r + 1u]);
  }
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
