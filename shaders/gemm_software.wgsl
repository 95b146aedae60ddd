// C ← α·op(A)·op(B) + β·C for software adapters, where op(X) is X or its transpose. A software adapter runs shaders on
// the CPU, where a load costs far more than arithmetic, and workgroup memory is as slow as any other memory.
//
// Each invocation computes two quads of 8 rows of C in registers, and the 16 invocations of a workgroup compute a patch
// of 8×128 elements of C. All 16 invocations read the same elements of op(A), which the adapter loads only once. A quad
// of B is a single load if its address is a multiple of 16 bytes. For rows from m on and columns from n on, invocations
// compute with unrelated elements and do not store the results.

struct Params {
  m: u32, n: u32, k: u32,
  a_offset: u32, lda: u32,
  b_offset: u32, ldb: u32,
  c_offset: u32, ldc: u32,
  alpha: f32, beta: f32,
  upper: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

// Invocations per workgroup.
const LANES = 16u;
// Rows and columns of a workgroup's patch of C.
const ROWS = 8u;
const COLS = 8u * LANES;

// sums[2·r + h] is quad h of row r, where r < 8 counts the rows of an invocation, and h < 2 the quads of each
// row.
alias Sums = array<vec4f, 16>;

// Adds to `sums` the outer product of a column of op(A) and a row of op(B). The column has eight elements, which are
// `step` apart, and starts at a[at]. The eight rows are written out, because not every driver unrolls
// loops.
fn accumulate(sums: ptr<function, Sums>, at: u32, step: u32, b0: vec4f, b1: vec4f) {
  let a0 = vec4f(a[at]);
  (*sums)[0] = fma(a0, b0, (*sums)[0]);
  (*sums)[1] = fma(a0, b1, (*sums)[1]);
  let a1 = vec4f(a[at + step]);
  (*sums)[2] = fma(a1, b0, (*sums)[2]);
  (*sums)[3] = fma(a1, b1, (*sums)[3]);
  let a2 = vec4f(a[at + 2u * step]);
  (*sums)[4] = fma(a2, b0, (*sums)[4]);
  (*sums)[5] = fma(a2, b1, (*sums)[5]);
  let a3 = vec4f(a[at + 3u * step]);
  (*sums)[6] = fma(a3, b0, (*sums)[6]);
  (*sums)[7] = fma(a3, b1, (*sums)[7]);
  let a4 = vec4f(a[at + 4u * step]);
  (*sums)[8] = fma(a4, b0, (*sums)[8]);
  (*sums)[9] = fma(a4, b1, (*sums)[9]);
  let a5 = vec4f(a[at + 5u * step]);
  (*sums)[10] = fma(a5, b0, (*sums)[10]);
  (*sums)[11] = fma(a5, b1, (*sums)[11]);
  let a6 = vec4f(a[at + 6u * step]);
  (*sums)[12] = fma(a6, b0, (*sums)[12]);
  (*sums)[13] = fma(a6, b1, (*sums)[13]);
  let a7 = vec4f(a[at + 7u * step]);
  (*sums)[14] = fma(a7, b0, (*sums)[14]);
  (*sums)[15] = fma(a7, b1, (*sums)[15]);
}

fn b_at(index: u32) -> f32 {
  return b[index / 4u][index % 4u];
}

// Four elements of B that start at `index` and are `step` apart.
fn b_quad(index: u32, step: u32) -> vec4f {
  return vec4f(b_at(index), b_at(index + step), b_at(index + 2u * step), b_at(index + 3u * step));
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

fn gemm(workgroup: vec3u, lane: u32, a_transposed: bool, b_transposed: bool) {
  let i0 = workgroup.y * ROWS;
  let j0 = workgroup.x * COLS;
  // With upper = 1 + d, only the elements with i ≤ j + d are needed. This patch may have none of them.
  if params.upper != 0u && i0 >= j0 + COLS + params.upper - 1u { return; }

  // Distances between elements in memory. `a_row` is from one row of op(A) to the next, and `b_col` from one
  // column of op(B) to the next. `a_next` and `b_next` are from one term p of the sum over k to the next.
  let a_row = select(params.lda, 1u, a_transposed);
  let a_next = select(1u, params.lda, a_transposed);
  let b_col = select(1u, params.ldb, b_transposed);
  let b_next = select(params.ldb, 1u, b_transposed);
  let a_start = params.a_offset + i0 * a_row;
  let b_start = params.b_offset + (j0 + 4u * lane) * b_col;

  var sums: Sums;
  if !b_transposed && (params.b_offset | params.ldb) % 4u == 0u {
    for (var p = 0u; p < params.k; p++) {
      let quad = (b_start + p * b_next) / 4u;
      accumulate(&sums, a_start + p * a_next, a_row, b[quad], b[quad + LANES]);
    }
  } else {
    for (var p = 0u; p < params.k; p++) {
      let at = b_start + p * b_next;
      accumulate(&sums, a_start + p * a_next, a_row, b_quad(at, b_col), b_quad(at + 4u * LANES * b_col, b_col));
    }
  }

  let j = j0 + 4u * lane;
  for (var r = 0u; r < ROWS; r++) {
    store(i0 + r, j, sums[2u * r]);
    store(i0 + r, j + 4u * LANES, sums[2u * r + 1u]);
  }
}

@compute @workgroup_size(LANES)
fn gemm_nn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  gemm(workgroup, lane, false, false);
}

@compute @workgroup_size(LANES)
fn gemm_nt(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  gemm(workgroup, lane, false, true);
}

@compute @workgroup_size(LANES)
fn gemm_tn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) lane: u32) {
  gemm(workgroup, lane, true, false);
}
