// gemm_nn, gemm_nt, gemm_tn: C ← alpha·op(A)·op(B) + beta·C after Goto & van de Geijn (Anatomy of High-Performance Matrix Multiplication).
// An item is a block of C. For every KC of k it packs a panel of B, then MC rows of A at a time, into the thread's scratch, and runs the
// micro-kernel over them. Threads share nothing but the operands: each packs for itself, which large items keep cheap.

import { f32At, pointer, u32At } from "./args";
import { packAcross, packAlong } from "./gemm_pack";
import { looksSparse, sparseCols, sparseProduct } from "./gemm_sparse";
import { MR, multiplyTile, NR } from "./gemm_tile";
import { multiplyWideTile, WIDE_NR } from "./gemm_tile_wide";
import { scratch } from "./scratch";
import { is_wide } from "./wide";

// KC·NR floats of B stay in a 32 KiB first-level cache beside the passing KC·MR of A; MC·KC floats of A stay in a 512 KiB second-level cache.
const KC: u32 = 384;
const MC: u32 = 192;
// The largest item, in rows and columns of C, and the smallest edge that is still worth a thread's packing.
const MAX_ROWS: u32 = 512;
const MAX_COLS: u32 = 1024;
const MIN_EDGE: u32 = 64;
// Items there should be, so that threads end together, if the product is large enough.
const ENOUGH_ITEMS: u32 = 16;

// Scratch: packed A, packed B, one tile of C for the edges.
const PACKED_B: usize = <usize>MC * KC * 4;
const EDGE_TILE: usize = PACKED_B + <usize>MAX_COLS * KC * 4;

// Rows and columns of an item's block. Set by `divide`; globals are a thread's own.
let blockRows: u32 = 0;
let blockCols: u32 = 0;

// Columns of a tile.
// @ts-ignore: decorator
@inline function tileCols(): u32 {
  return is_wide() ? WIDE_NR : NR;
}

// @ts-ignore: decorator
@inline function multiply(k: u32, a: usize, b: usize, c: usize, ldc: usize, alpha: f32, beta: f32): void {
  if (is_wide()) multiplyWideTile(k, a, b, c, ldc, alpha, beta);
  else multiplyTile(k, a, b, c, ldc, alpha, beta);
}

// @ts-ignore: decorator
@inline function parts(count: u32, size: u32): u32 {
  return (count + size - 1) / size;
}

// The size of `count` cut into parts of at most `size`, all about equal, in multiples of `unit`.
// @ts-ignore: decorator
@inline function evenPart(count: u32, size: u32, unit: u32): u32 {
  return parts(parts(count, parts(count, size)), unit) * unit;
}

function divide(m: u32, n: u32): void {
  let rows = min(m, MAX_ROWS), cols = min(n, MAX_COLS);
  while (parts(m, rows) * parts(n, cols) < ENOUGH_ITEMS && max(rows, cols) >= 2 * MIN_EDGE) {
    if (rows >= cols) rows = parts(rows, 2);
    else cols = parts(cols, 2);
  }
  blockRows = evenPart(m, rows, MR);
  // In units of the wider tile whichever is used: what a block is judged by (`looksSparse`), and so the order of its sums, is then the same.
  blockCols = evenPart(n, cols, WIDE_NR);
}

function items(args: usize): u32 {
  const m = u32At(args, 3), n = u32At(args, 4);
  if (m == 0 || n == 0) return 0;
  divide(m, n);
  return parts(m, blockRows) * parts(n, blockCols);
}

// C ← alpha·A·B + beta·C for one tile at the edge: computed whole beside C, then only its rows × cols go in.
function multiplyEdge(k: u32, a: usize, b: usize, c: usize, ldc: usize, rows: u32, cols: u32, alpha: f32, beta: f32): void {
  const tile = scratch() + EDGE_TILE, width = tileCols();
  multiply(k, a, b, tile, width << 2, alpha, 0);
  for (let i: u32 = 0; i < rows; i++) {
    for (let j: u32 = 0; j < cols; j++) {
      const place = c + i * ldc + (j << 2);
      let value = load<f32>(tile + ((i * width + j) << 2));
      if (beta != 0) value += beta * load<f32>(place);
      store<f32>(place, value);
    }
  }
}

// One packed block of A (rows × k) times one packed panel of B (k × cols), into C at its row and column. With `upper`, tiles wholly below the
// diagonal are left out.
function multiplyBlock(
  k: u32, c: usize, ldc: usize, row0: u32, rows: u32, col0: u32, cols: u32, alpha: f32, beta: f32, upper: bool,
): void {
  const packedA = scratch(), packedB = packedA + PACKED_B, whole = tileCols();
  for (let j: u32 = 0; j < cols; j += whole) {
    const width = min(whole, cols - j), b = packedB + (<usize>j * k << 2);
    for (let i: u32 = 0; i < rows; i += MR) {
      if (upper && row0 + i > col0 + j + width - 1) break;
      const height = min(MR, rows - i), a = packedA + (<usize>i * k << 2);
      const tile = c + (row0 + i) * ldc + ((<usize>col0 + j) << 2);
      if (height == MR && width == whole) multiply(k, a, b, tile, ldc, alpha, beta);
      else multiplyEdge(k, a, b, tile, ldc, height, width, alpha, beta);
    }
  }
}

function gemm(args: usize, item: u32, transA: bool, transB: bool): void {
  const m = u32At(args, 3), n = u32At(args, 4), k = u32At(args, 5);
  const a = pointer(args, 0) + (<usize>u32At(args, 6) << 2), lda = u32At(args, 7);
  const b = pointer(args, 1) + (<usize>u32At(args, 8) << 2), ldb = u32At(args, 9);
  const c = pointer(args, 2) + (<usize>u32At(args, 10) << 2), ldc = <usize>u32At(args, 11) << 2;
  const alpha = f32At(args, 12), beta = f32At(args, 13), upper = u32At(args, 14) != 0;
  divide(m, n);
  const perRow = parts(n, blockCols);
  const row0 = item / perRow * blockRows, col0 = item % perRow * blockCols;
  const rowEnd = min(m, row0 + blockRows), cols = min(blockCols, n - col0);
  if (upper && row0 > col0 + cols - 1) return;

  // Where either operand is largely zeros, what follows is not for it: A's rows become lists, or B's columns, and then C is made transposed.
  const rows = rowEnd - row0, block = c + row0 * ldc + (<usize>col0 << 2);
  const across: usize = transA ? 1 : lda, along: usize = transA ? lda : 1;
  const left = a + (<usize>row0 * across << 2), right = b + (<usize>col0 * (transB ? ldb : 1) << 2);
  if (looksSparse(left, across, along, rows, k)) {
    const sums = sparseProduct(left, across, along, rows, right, ldb, transB, cols, k, upper, <i32>row0 - <i32>col0);
    storeSums(sums, rows, cols, block, ldc, 4, alpha, beta);
    return;
  }
  if (transB && !upper && looksSparse(right, ldb, 1, cols, k)) {
    const sums = sparseProduct(right, ldb, 1, cols, left, lda, !transA, rows, k, false, 0);
    storeSums(sums, cols, rows, block, 4, ldc, alpha, beta);
    return;
  }

  // At least once: with k = 0, C is still to be scaled by beta.
  let k0: u32 = 0;
  do {
    const depth = min(KC, k - k0);
    if (transB) packAcross(b + ((<usize>col0 * ldb + k0) << 2), ldb, cols, depth, tileCols(), scratch() + PACKED_B);
    else packAlong(b + ((<usize>k0 * ldb + col0) << 2), ldb, cols, depth, tileCols(), scratch() + PACKED_B);
    for (let i = row0; i < rowEnd; i += MC) {
      const height = min(MC, rowEnd - i);
      if (upper && i > col0 + cols - 1) break;
      if (transA) packAlong(a + ((<usize>k0 * lda + i) << 2), lda, height, depth, MR, scratch());
      else packAcross(a + ((<usize>i * lda + k0) << 2), lda, height, depth, MR, scratch());
      multiplyBlock(depth, c, ldc, i, height, col0, cols, alpha, k0 == 0 ? beta : 1, upper);
    }
    k0 += KC;
  } while (k0 < k);
}

// C ← alpha·Z + beta·C for the sums of `sparseProduct`, (rows, cols) in panels; element (i, j) of C is at c + i·down + j·right, in bytes.
function storeSums(z: usize, rows: u32, cols: u32, c: usize, down: usize, right: usize, alpha: f32, beta: f32): void {
  const width = sparseCols();
  for (let j: u32 = 0; j < cols; j++) {
    let from = z + ((<usize>(j / width * rows) * width + j % width) << 2), to = c + <usize>j * right;
    for (let i: u32 = 0; i < rows; i++, from += <usize>width << 2, to += down) {
      let value = alpha * load<f32>(from);
      if (beta != 0) value += beta * load<f32>(to);
      store<f32>(to, value);
    }
  }
}

export function gemm_nn_items(args: usize): u32 {
  return items(args);
}

export function gemm_nn(args: usize, item: u32): void {
  gemm(args, item, false, false);
}

export function gemm_nt_items(args: usize): u32 {
  return items(args);
}

export function gemm_nt(args: usize, item: u32): void {
  gemm(args, item, false, true);
}

export function gemm_tn_items(args: usize): u32 {
  return items(args);
}

export function gemm_tn(args: usize, item: u32): void {
  gemm(args, item, true, false);
}
