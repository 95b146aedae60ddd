// The CPU twin of shaders/reverse_cholesky.wgsl. It factors one diagonal block H = R·Rᵀ, where R is upper triangular,
// and computes U = R⁻¹. It is one work item, because the block is too small to be divided.
//
// The kernel works on a copy of H in the scratch. The copy is extended by the identity to a multiple of TILE rows and
// columns, so that no loop needs a special case for the edges. The factor of the identity is the identity. Both R and U
// are computed left-looking, in panels of four. R is computed four columns at a time, from the last to the first, and U
// four rows at a time, also from the last to the first.

import { ReverseCholeskyArgs } from "./args";
import { round_up } from "./shared/items";
import { scratch } from "./shared/instance";

// The number of columns of R, or of rows of U, that one step computes.
const PANEL: u32 = 4;
// The number of columns of U that `invert_tile` computes at a time.
const TILE: u32 = 8;

export function reverse_cholesky_items(_args: ReverseCholeskyArgs): u32 {
  return 1;
}

export function reverse_cholesky(args: ReverseCholeskyArgs, _item: u32): void {
  const status = args.status;
  if (load<u32>(status) != 0) return;
  const size = args.size, first = args.first;
  const h = args.h + (<usize>args.offset << 2), hStride = <usize>args.ld << 2;
  const r = args.r + (<usize>args.r_offset << 2), rStride = <usize>args.ldr << 2;
  const u = args.u + (<usize>args.u_offset << 2), uStride = <usize>args.ldu << 2;

  const padded = round_up(size, TILE);
  // Half a cache line is added to each row. If rows were a power of two apart, the elements of a column would share a
  // few sets of the cache.
  const stride = (<usize>padded + 8) << 2;
  const factor = scratch(), inverse = factor + padded * stride;
  load_identity(factor, stride, padded);
  copy_upper(h, hStride, factor, stride, size);
  const failed = factor_block(factor, stride, padded);
  if (failed != 0) {
    store<u32>(status, first + failed);
    return;
  }
  load_identity(inverse, stride, padded);
  invert_block(factor, inverse, stride, padded);

  copy_upper(factor, stride, r, rStride, size);
  copy_upper(inverse, stride, u, uStride, size);
  const diagonal = args.diagonal + (<usize>first << 2);
  for (let j: u32 = 0; j < size; j++) {
    store<f32>(diagonal + (<usize>j << 2), load<f32>(element_address(factor, stride, j, j)));
  }
}

@inline function element_address(matrix: usize, stride: usize, i: u32, j: u32): usize {
  return matrix + i * stride + (<usize>j << 2);
}

function load_identity(matrix: usize, stride: usize, size: u32): void {
  memory.fill(matrix, 0, size * stride);
  for (let i: u32 = 0; i < size; i++) store<f32>(element_address(matrix, stride, i, i), 1);
}

// Copies the upper triangle and zeroes the elements strictly below the diagonal.
function copy_upper(source: usize, sourceStride: usize, target: usize, targetStride: usize, size: u32): void {
  for (let i: u32 = 0; i < size; i++) {
    const from = source + i * sourceStride, to = target + i * targetStride;
    memory.fill(to, 0, <usize>i << 2);
    memory.copy(to + (<usize>i << 2), from + (<usize>i << 2), <usize>(size - i) << 2);
  }
}

// The vector [Σa, Σb, Σc, Σd], where each Σ runs over the four lanes of one argument.
@inline function sums_of_lanes(a: v128, b: v128, c: v128, d: v128): v128 {
  const ab = f32x4.add(v128.shuffle<f32>(a, b, 0, 4, 1, 5), v128.shuffle<f32>(a, b, 2, 6, 3, 7));
  const cd = f32x4.add(v128.shuffle<f32>(c, d, 0, 4, 1, 5), v128.shuffle<f32>(c, d, 2, 6, 3, 7));
  return f32x4.add(v128.shuffle<f32>(ab, cd, 0, 1, 4, 5), v128.shuffle<f32>(ab, cd, 2, 3, 6, 7));
}

// Replaces H by R, with H = R·Rᵀ. Returns 0, or one plus the column of the first pivot that is not positive. Columns
// are factored from the last to the first.
function factor_block(r: usize, stride: usize, size: u32): u32 {
  for (let start: i32 = size - PANEL; start >= 0; start -= PANEL) {
    for (let i: i32 = 0; i < start + PANEL; i += 2) subtract_products(r, stride, size, i, start);
    const failed = factor_corner(r, stride, start);
    if (failed != 0) return failed;
    solve_panel(r, stride, start);
  }
  return 0;
}

// R[i, J] ← H[i, J] − Σ_l R[i, l]·R[J, l] for rows i and i + 1. J is the panel of columns at `start`, and l runs over
// the columns after it.
function subtract_products(r: usize, stride: usize, size: u32, i: u32, start: u32): void {
  let a0 = f32x4.splat(0), a1 = a0, a2 = a0, a3 = a0;
  let b0 = a0, b1 = a0, b2 = a0, b3 = a0;
  let rows = element_address(r, stride, i, start + PANEL), panel = element_address(r, stride, start, start + PANEL);
  const end = element_address(r, stride, i, size);
  while (rows < end) {
    const a = v128.load(rows), b = v128.load(rows + stride);
    const s0 = v128.load(panel), s1 = v128.load(panel + stride);
    a0 = f32x4.relaxed_madd(a, s0, a0), b0 = f32x4.relaxed_madd(b, s0, b0);
    const s2 = v128.load(panel + 2 * stride);
    a1 = f32x4.relaxed_madd(a, s1, a1), b1 = f32x4.relaxed_madd(b, s1, b1);
    const s3 = v128.load(panel + 3 * stride);
    a2 = f32x4.relaxed_madd(a, s2, a2), b2 = f32x4.relaxed_madd(b, s2, b2);
    a3 = f32x4.relaxed_madd(a, s3, a3), b3 = f32x4.relaxed_madd(b, s3, b3);
    rows += 16;
    panel += 16;
  }
  const target = element_address(r, stride, i, start);
  v128.store(target, f32x4.sub(v128.load(target), sums_of_lanes(a0, a1, a2, a3)));
  v128.store(target + stride, f32x4.sub(v128.load(target + stride), sums_of_lanes(b0, b1, b2, b3)));
}

// Factors the 4 × 4 block on the diagonal, one column at a time. Returns the same as `factor_block`.
function factor_corner(r: usize, stride: usize, start: u32): u32 {
  for (let j = start + PANEL; j > start;) {
    j--;
    const pivot = load<f32>(element_address(r, stride, j, j));
    if (!(pivot > 0)) return j + 1;
    const root = sqrt<f32>(pivot);
    store<f32>(element_address(r, stride, j, j), root);
    for (let i = start; i < j; i++) {
      const element = element_address(r, stride, i, j);
      store<f32>(element, load<f32>(element) / root);
    }
    // H(i, l) -= R(i, j) * R(l, j)
    for (let i = start; i < j; i++) {
      for (let l = i; l < j; l++) {
        const element = element_address(r, stride, i, l);
        store<f32>(element, load<f32>(element) - load<f32>(element_address(r, stride, i, j)) * load<f32>(element_address(r, stride, l, j)));
      }
    }
  }
  return 0;
}

// R[i, J] ← R[i, J]·R[J, J]⁻ᵀ for the rows i above the diagonal block of panel J, by substitution.
function solve_panel(r: usize, stride: usize, start: u32): void {
  const corner = element_address(r, stride, start, start);
  const r01 = load<f32>(corner, 4), r02 = load<f32>(corner, 8), r03 = load<f32>(corner, 12);
  const r12 = load<f32>(corner + stride, 8), r13 = load<f32>(corner + stride, 12);
  const r23 = load<f32>(corner + 2 * stride, 12);
  const inv0: f32 = 1 / load<f32>(corner);
  const inv1: f32 = 1 / load<f32>(corner + stride, 4);
  const inv2: f32 = 1 / load<f32>(corner + 2 * stride, 8);
  const inv3: f32 = 1 / load<f32>(corner + 3 * stride, 12);
  for (let i: u32 = 0; i < start; i++) {
    const row = element_address(r, stride, i, start);
    const x3 = load<f32>(row, 12) * inv3;
    const x2 = (load<f32>(row, 8) - x3 * r23) * inv2;
    const x1 = (load<f32>(row, 4) - x3 * r13 - x2 * r12) * inv1;
    const x0 = (load<f32>(row) - x3 * r03 - x2 * r02 - x1 * r01) * inv0;
    store<f32>(row, x0);
    store<f32>(row, x1, 4);
    store<f32>(row, x2, 8);
    store<f32>(row, x3, 12);
  }
}

// Solves R·U = I for U, from the last rows to the first. `u` must hold the identity.
function invert_block(r: usize, u: usize, stride: usize, size: u32): void {
  for (let start: i32 = size - PANEL; start >= 0; start -= PANEL) {
    for (let c = <u32>start & ~(TILE - 1); c < size; c += TILE) invert_tile(r, u, stride, start, c);
  }
}

// U[I, C] ← R[I, I]⁻¹·(U[I, C] − Σ_k R[I, k]·U[k, C]). I is the panel of 4 rows from `start` on, and C is the 8 columns
// from `c` on. k runs from the row after I to the last column of C, because U is zero below that row in the columns C.
function invert_tile(r: usize, u: usize, stride: usize, start: u32, c: u32): void {
  const target = element_address(u, stride, start, c);
  let a0 = v128.load(target), a1 = v128.load(target, 16);
  let b0 = v128.load(target + stride), b1 = v128.load(target + stride, 16);
  let c0 = v128.load(target + 2 * stride), c1 = v128.load(target + 2 * stride, 16);
  let d0 = v128.load(target + 3 * stride), d1 = v128.load(target + 3 * stride, 16);
  const corner = element_address(r, stride, start, start);
  let rows = corner + (PANEL << 2), below = element_address(u, stride, start + PANEL, c);
  const end = element_address(r, stride, start, c + TILE);
  while (rows < end) {
    const u0 = v128.load(below), u1 = v128.load(below, 16);
    let factor = v128.load32_splat(rows);
    a0 = f32x4.relaxed_nmadd(factor, u0, a0), a1 = f32x4.relaxed_nmadd(factor, u1, a1);
    factor = v128.load32_splat(rows + stride);
    b0 = f32x4.relaxed_nmadd(factor, u0, b0), b1 = f32x4.relaxed_nmadd(factor, u1, b1);
    factor = v128.load32_splat(rows + 2 * stride);
    c0 = f32x4.relaxed_nmadd(factor, u0, c0), c1 = f32x4.relaxed_nmadd(factor, u1, c1);
    factor = v128.load32_splat(rows + 3 * stride);
    d0 = f32x4.relaxed_nmadd(factor, u0, d0), d1 = f32x4.relaxed_nmadd(factor, u1, d1);
    rows += 4;
    below += stride;
  }

  let factor = v128.load32_splat(corner + 3 * stride, 12);
  d0 = f32x4.div(d0, factor), d1 = f32x4.div(d1, factor);
  factor = v128.load32_splat(corner + 2 * stride, 12);
  c0 = f32x4.relaxed_nmadd(factor, d0, c0), c1 = f32x4.relaxed_nmadd(factor, d1, c1);
  factor = v128.load32_splat(corner + 2 * stride, 8);
  c0 = f32x4.div(c0, factor), c1 = f32x4.div(c1, factor);
  factor = v128.load32_splat(corner + stride, 12);
  b0 = f32x4.relaxed_nmadd(factor, d0, b0), b1 = f32x4.relaxed_nmadd(factor, d1, b1);
  factor = v128.load32_splat(corner + stride, 8);
  b0 = f32x4.relaxed_nmadd(factor, c0, b0), b1 = f32x4.relaxed_nmadd(factor, c1, b1);
  factor = v128.load32_splat(corner + stride, 4);
  b0 = f32x4.div(b0, factor), b1 = f32x4.div(b1, factor);
  factor = v128.load32_splat(corner, 12);
  a0 = f32x4.relaxed_nmadd(factor, d0, a0), a1 = f32x4.relaxed_nmadd(factor, d1, a1);
  factor = v128.load32_splat(corner, 8);
  a0 = f32x4.relaxed_nmadd(factor, c0, a0), a1 = f32x4.relaxed_nmadd(factor, c1, a1);
  factor = v128.load32_splat(corner, 4);
  a0 = f32x4.relaxed_nmadd(factor, b0, a0), a1 = f32x4.relaxed_nmadd(factor, b1, a1);
  factor = v128.load32_splat(corner);
  v128.store(target, f32x4.div(a0, factor)), v128.store(target, f32x4.div(a1, factor), 16);
  v128.store(target + stride, b0), v128.store(target + stride, b1, 16);
  v128.store(target + 2 * stride, c0), v128.store(target + 2 * stride, c1, 16);
  v128.store(target + 3 * stride, d0), v128.store(target + 3 * stride, d1, 16);
}
