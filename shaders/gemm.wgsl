// C ← α·op(A)·op(B) + β·C for discrete GPUs: 16×16 invocations compute a 128×128 tile of C, 8×8 elements each in registers.
// Slices of op(A) and op(B), 8 deep, pass through workgroup memory, double-buffered: the next slice is fetched into registers while the
// present one is multiplied, and one barrier a slice suffices. Elements past m, n and k count as zero.

struct Params {
  m: u32, n: u32, k: u32,
  a_offset: u32, lda: u32,
  b_offset: u32, ldb: u32,
  c_offset: u32, ldc: u32,
  alpha: f32, beta: f32,
  upper: u32,
}

@group(0) @binding(0) var<storage, read> a: array<f32>;
@group(0) @binding(1) var<storage, read> b: array<f32>;
@group(0) @binding(2) var<storage, read_write> c: array<f32>;
@group(0) @binding(3) var<uniform> params: Params;

const TILE = 128u;
const DEPTH = 8u;
const QUADS = TILE / 4u; // of consecutive rows of op(A), or columns of op(B)
const SLICE = DEPTH * QUADS;

// (2, DEPTH, QUADS): two slices each, 16 KiB in all.
var<workgroup> a_slices: array<vec4f, 2 * SLICE>;
var<workgroup> b_slices: array<vec4f, 2 * SLICE>;

// Where quad `quad` of depth `depth` is kept. The exclusive or spreads the quads that a warp stores at once over the memory banks.
fn slot(depth: u32, quad: u32) -> u32 {
  return depth * QUADS + (quad ^ depth);
}

// The (depth, quad) that an invocation fetches: neighbours take neighbouring addresses of the operand as stored.
fn assignment(local: u32, depth_contiguous: bool) -> vec2u {
  return select(vec2u(local / QUADS, local % QUADS), vec2u(local % DEPTH, local / DEPTH), depth_contiguous);
}

fn a_at(i: u32, p: u32, transposed: bool) -> f32 {
  if i >= params.m || p >= params.k { return 0.0; }
  return a[params.a_offset + select(i * params.lda + p, p * params.lda + i, transposed)];
}

fn b_at(p: u32, j: u32, transposed: bool) -> f32 {
  if j >= params.n || p >= params.k { return 0.0; }
  return b[params.b_offset + select(p * params.ldb + j, j * params.ldb + p, transposed)];
}

fn fetch_a(i: u32, p: u32, transposed: bool) -> vec4f {
  return vec4f(a_at(i, p, transposed), a_at(i + 1u, p, transposed), a_at(i + 2u, p, transposed), a_at(i + 3u, p, transposed));
}

fn fetch_b(p: u32, j: u32, transposed: bool) -> vec4f {
  return vec4f(b_at(p, j, transposed), b_at(p, j + 1u, transposed), b_at(p, j + 2u, transposed), b_at(p, j + 3u, transposed));
}

fn store(i: u32, j: u32, product: vec4f) {
  if i >= params.m { return; }
  for (var e = 0u; e < 4u && j + e < params.n; e++) {
    let at = params.c_offset + i * params.ldc + j + e;
    var value = params.alpha * product[e];
    // With β = 0 C may hold anything, NaN included, and is not read.
    if params.beta != 0.0 { value += params.beta * c[at]; }
    c[at] = value;
  }
}

fn gemm(workgroup: vec3u, local: u32, a_transposed: bool, b_transposed: bool) {
  let i0 = workgroup.y * TILE;
  let j0 = workgroup.x * TILE;
  if params.upper != 0u && i0 >= j0 + TILE { return; } // wholly below the diagonal

  let a_part = assignment(local, !a_transposed);
  let b_part = assignment(local, b_transposed);
  let a_slot = slot(a_part.x, a_part.y);
  let b_slot = slot(b_part.x, b_part.y);
  let a_row = i0 + 4u * a_part.y;
  let b_col = j0 + 4u * b_part.y;

  // An invocation's rows are quads `row_quad` and `row_quad` + 16 of the tile, likewise its columns.
  let row_quad = local / 16u;
  let col_quad = local % 16u;
  // sums[2·r + h]: row r of the eight, column quad h.
  var sums: array<vec4f, 16>;

  a_slices[a_slot] = fetch_a(a_row, a_part.x, a_transposed);
  b_slices[b_slot] = fetch_b(b_part.x, b_col, b_transposed);
  workgroupBarrier();

  var present = 0u;
  for (var p = 0u; p < params.k; p += DEPTH) {
    let next_a = fetch_a(a_row, p + DEPTH + a_part.x, a_transposed);
    let next_b = fetch_b(p + DEPTH + b_part.x, b_col, b_transposed);
    for (var depth = 0u; depth < DEPTH; depth++) {
      let a0 = a_slices[present + slot(depth, row_quad)];
      let a1 = a_slices[present + slot(depth, row_quad + 16u)];
      let b0 = b_slices[present + slot(depth, col_quad)];
      let b1 = b_slices[present + slot(depth, col_quad + 16u)];
      // Written out: constant indices keep `sums` in registers whatever the driver's unrolling.
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
    present = SLICE - present;
    a_slices[present + a_slot] = next_a;
    b_slices[present + b_slot] = next_b;
    workgroupBarrier();
  }

  for (var r = 0u; r < 8u; r++) {
    let i = i0 + 4u * row_quad + select(r, r + 60u, r >= 4u);
    store(i, j0 + 4u * col_quad, sums[2u * r]);
    store(i, j0 + 4u * col_quad + 64u, sums[2u * r + 1u]);
  }
}

@compute @workgroup_size(256)
fn gemm_nn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  gemm(workgroup, local, false, false);
}

@compute @workgroup_size(256)
fn gemm_nt(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  gemm(workgroup, local, false, true);
}

@compute @workgroup_size(256)
fn gemm_tn(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  gemm(workgroup, local, true, false);
}
