// The CPU twins of the kernels in shaders/gemm.wgsl. They compute C ← alpha·op(A)·op(B) + beta·C, where C is (m, n),
// op(A) is (m, k) and op(B) is (k, n). The method is from Goto & van de Geijn, "Anatomy of High-Performance Matrix
// Multiplication" (2008).
//
// A work item is a block of C. It cuts k into steps of at most KC, and multiplies MC rows of A at a time by its columns of B in
// panels. A micro-kernel multiplies two panels. Unless it can read the rows of A as they are, the item packs them.
//
// Packing is slow, because an operand mostly comes from memory and not from a cache. Therefore a product of many rows begins with
// a command of its own, NAME_pack, in which all threads together pack B once into the shared memory. If B is small or has no room
// there, each item packs its own columns in each step.
//
// If the backend has loaded a library (shared/library.ts), the library multiplies the block of an item instead.
//
// If op(A) is largely zeros, each item computes its block with shared/gemm_sparse.ts instead. In gemm_nt without `upper`,
// it also does so if op(B) is largely zeros.

import { GemmNnArgs, GemmNtArgs, GemmTnArgs } from "./args";
import { pack_panels, pack_panels_transposed } from "./shared/gemm_pack";
import { looks_sparse, sparse_product, sums_panel_cols } from "./shared/gemm_sparse";
import { COLS_UNIT, micro_cols, micro_rows, reads_rows, ROWS_UNIT } from "./shared/micro_kernels";
import { multiply_packed } from "./shared/packed_product";
import { scratch, SHARED_BYTES, shared_memory, threads } from "./shared/instance";
import { multiply_by_library, uses_library } from "./shared/library";
import { ceil_divide, round_up } from "./shared/items";

// A panel of A has KC·micro_rows() floats, 9 KiB, and stays in the first-level cache while panels of B pass through it. The
// packed rows of A, MC·KC floats, and the columns of B that are multiplied together (CACHED_COLS in shared/packed_product.ts)
// fit in a second-level cache of 1 MiB.
const KC: u32 = 384;
const MC: u32 = 192;
// The most rows and columns of C in a work item, and the smallest edge of its block with which packing is worthwhile.
const MAX_ROWS: u32 = 512;
const MAX_COLS: u32 = 1024;
const MIN_EDGE: u32 = 64;
// Blocks are halved until there are at least so many items, or until the edges are small. With enough items, all threads
// finish at about the same time. The results of a library depend on the blocks, so there the number is the same for any
// number of threads.
const ITEMS_PER_THREAD: u32 = 4;
const LIBRARY_ITEMS: u32 = 16;

// The fewest rows of C and elements of B with which packing B in a command of its own is worthwhile, and the columns of B that an
// item of this command packs.
const SHARING_ROWS: u32 = 512;
const SHARED_ELEMENTS: u64 = 1 << 14;
const PACK_COLS: u32 = 64;

// The scratch has packed A, packed B, and one micro-tile for the edges of C. These are the offsets of the last two.
const PACKED_B: usize = <usize>MC * KC * 4;
const EDGE_TILE: usize = PACKED_B + <usize>MAX_COLS * KC * 4;

// The number of rows and columns of an item's block, which `choose_block` sets. Each thread has its own globals.
let blockRows: u32 = 0;
let blockCols: u32 = 0;

// Divides `count` into as few parts of at most `size` as possible, and makes the parts about equal. Returns the size of
// a part, rounded up to a multiple of `unit`, so it may exceed `size`.
@inline function even_part(count: u32, size: u32, unit: u32): u32 {
  return ceil_divide(ceil_divide(count, ceil_divide(count, size)), unit) * unit;
}

// Whether B is packed in a command of its own.
function shares_b(args: GemmNnArgs): bool {
  const elements = <u64>args.k * round_up(args.n, COLS_UNIT);
  return args.m >= SHARING_ROWS && elements >= SHARED_ELEMENTS && elements * 4 <= SHARED_BYTES && !uses_library();
}

// If B is shared, items of fewer rows pack nothing more, but items of fewer columns do.
function choose_block(m: u32, n: u32, shared: bool): void {
  let rows = min(m, MAX_ROWS), cols = min(n, MAX_COLS);
  const enough = uses_library() ? LIBRARY_ITEMS : ITEMS_PER_THREAD * threads();
  while (ceil_divide(m, rows) * ceil_divide(n, cols) < enough && max(rows, cols) >= 2 * MIN_EDGE) {
    if (rows >= (shared ? 2 * MIN_EDGE : cols)) rows = ceil_divide(rows, 2);
    else cols = ceil_divide(cols, 2);
  }
  blockRows = even_part(m, rows, ROWS_UNIT);
  blockCols = even_part(n, cols, COLS_UNIT);
}

function count_gemm_items(args: GemmNnArgs): u32 {
  const m = args.m, n = args.n;
  if (m == 0 || n == 0) return 0;
  choose_block(m, n, shares_b(args));
  return ceil_divide(m, blockRows) * ceil_divide(n, blockCols);
}

// The B that is in the shared memory once all queued commands have run. Only the instance that counts the items uses these globals.
let packedB: usize = 0;
let packedOffset: u32 = 0;
let packedLd: u32 = 0;
let packedCols: u32 = 0;
let packedSteps: u32 = 0;
let packedTransposed: bool = false;

// The backend calls this function whenever the host or a queued command changes the buffer at `address`.
export function mark_changed(address: usize): void {
  if (packedB == address) packedB = 0;
}

// The number of items that pack B, or 0 if the shared memory already has it. Several products in a row often have the same B.
function count_pack_items(args: GemmNnArgs, transB: bool): u32 {
  if (!shares_b(args)) return 0;
  const b = args.b, offset = args.b_offset, ldb = args.ldb, n = args.n, k = args.k;
  if (
    packedB == b && packedOffset == offset && packedLd == ldb && packedCols == n && packedSteps == k && packedTransposed == transB
  ) return 0;
  packedB = b;
  packedOffset = offset;
  packedLd = ldb;
  packedCols = n;
  packedSteps = k;
  packedTransposed = transB;
  return ceil_divide(n, PACK_COLS);
}

// Packs PACK_COLS columns of op(B) for the items of the product. Their panels have all k steps.
function run_pack_item(args: GemmNnArgs, item: u32, transB: bool): void {
  const col0 = item * PACK_COLS, cols = min(PACK_COLS, args.n - col0), b = args.b + (<usize>args.b_offset << 2);
  pack_columns(b, args.ldb, transB, 0, col0, args.k, cols, shared_memory() + (<usize>col0 * args.k << 2));
}

// Packs k steps of `cols` columns of op(B), from step k0 and column col0 on.
function pack_columns(b: usize, ldb: u32, transB: bool, k0: u32, col0: u32, k: u32, cols: u32, target: usize): void {
  if (transB) pack_panels_transposed(b + ((<usize>col0 * ldb + k0) << 2), ldb, cols, k, micro_cols(), target);
  else pack_panels(b + ((<usize>k0 * ldb + col0) << 2), ldb, cols, k, micro_cols(), target);
}

// `roundedA` and `roundedB` are the addresses of A and B in bf16, or 0 if the product must not round them.
export function run_gemm_item(args: GemmNnArgs, item: u32, transA: bool, transB: bool, roundedA: usize, roundedB: usize): void {
  const m = args.m, n = args.n, k = args.k;
  const a = args.a + (<usize>args.a_offset << 2), lda = args.lda;
  const b = args.b + (<usize>args.b_offset << 2), ldb = args.ldb;
  const c = args.c + (<usize>args.c_offset << 2), ldc = <usize>args.ldc << 2;
  const alpha = args.alpha, beta = args.beta, upper = args.upper != 0;
  // With `upper`, only the elements with i ≤ j + below are needed.
  const below: u32 = upper ? args.upper - 1 : 0;
  const shared = shares_b(args);
  choose_block(m, n, shared);
  const blocksPerRow = ceil_divide(n, blockCols);
  const row0 = item / blocksPerRow * blockRows, col0 = item % blocksPerRow * blockCols;
  const rowEnd = min(m, row0 + blockRows), cols = min(blockCols, n - col0);
  if (upper && row0 > col0 + cols - 1 + below) return;

  const rows = rowEnd - row0, cBlock = c + row0 * ldc + (<usize>col0 << 2), shift = <i32>row0 - <i32>(col0 + below);
  const aFirst = <usize>row0 * (transA ? 1 : lda), bFirst = <usize>col0 * (transB ? ldb : 1);
  // A library does nothing if it finds an argument invalid, so the code below handles what it does not accept.
  const accepted = uses_library() && k > 0 && lda >= (transA ? m : k) && ldb >= (transB ? k : n) && args.ldc >= n;
  if (roundedA != 0 && accepted) {
    // A product of rounded operands is so fast that lists of non-zeros are not worthwhile.
    const aBlock = roundedA + (aFirst + args.a_offset << 1), bBlock = roundedB + (bFirst + args.b_offset << 1);
    multiply_by_library(true, transA, transB, rows, cols, k, alpha, aBlock, lda, bBlock, ldb, beta, cBlock, args.ldc, upper, shift);
    return;
  }

  // If op(A) is largely zeros, the item's rows become lists of non-zeros. Otherwise, if B is transposed, `upper` is not set
  // and op(B) is largely zeros, the item's columns become lists, and the transposed product is computed. The whole operand
  // is sampled, so the method does not depend on the blocks, which depend on the number of threads.
  const rowStep: usize = transA ? 1 : lda, kStep: usize = transA ? lda : 1;
  const aBlock = a + (aFirst << 2), bBlock = b + (bFirst << 2);
  if (looks_sparse(a, rowStep, kStep, m, k)) {
    const sums = sparse_product(aBlock, rowStep, kStep, rows, bBlock, ldb, transB, cols, k, upper, shift);
    store_sums(sums, rows, cols, cBlock, ldc, alpha, beta, upper, shift);
    return;
  }
  if (transB && !upper && looks_sparse(b, ldb, 1, n, k)) {
    const sums = sparse_product(bBlock, ldb, 1, cols, aBlock, lda, !transA, rows, k, false, 0);
    store_sums_transposed(sums, cols, rows, cBlock, ldc, alpha, beta);
    return;
  }
  if (accepted) {
    multiply_by_library(false, transA, transB, rows, cols, k, alpha, aBlock, lda, bBlock, ldb, beta, cBlock, args.ldc, upper, shift);
    return;
  }

  // The loop runs at least once, because C must be multiplied by beta even if k = 0.
  let k0: u32 = 0;
  do {
    const depth = min(KC, k - k0), packedA = scratch();
    // If B is shared, the command before this one has packed all k steps.
    const packedB = shared ? shared_memory() + ((<usize>col0 * k + k0 * micro_cols()) << 2) : packedA + PACKED_B;
    if (!shared) pack_columns(b, ldb, transB, k0, col0, depth, cols, packedB);
    for (let i = row0; i < rowEnd; i += MC) {
      const height = min(MC, rowEnd - i);
      if (upper && i > col0 + cols - 1 + below) break;
      const aRows = a + ((<usize>i * rowStep + k0 * kStep) << 2), direct = !transA && reads_rows(height, depth);
      if (transA) pack_panels(aRows, lda, height, depth, micro_rows(), packedA);
      else if (!direct) pack_panels_transposed(aRows, lda, height, depth, micro_rows(), packedA);
      multiply_packed(
        depth, direct ? aRows : packedA, direct ? <usize>lda << 2 : 0, packedB, shared ? k : depth, scratch() + EDGE_TILE,
        c + i * ldc + (<usize>col0 << 2), ldc, height, cols, alpha, k0 == 0 ? beta : 1, upper, <i32>i - <i32>(col0 + below), false,
      );
    }
    k0 += KC;
  } while (k0 < k);
}

// C ← alpha·Z + beta·C, where Z is the result of `sparse_product`, (rows, cols) in panels, and C is (rows, cols). With
// `upper`, elements of C with first + i > j may be left as they are.
function store_sums(z: usize, rows: u32, cols: u32, c: usize, ldc: usize, alpha: f32, beta: f32, upper: bool, first: i32): void {
  const width = sums_panel_cols(), alphas = f32x4.splat(alpha), betas = f32x4.splat(beta);
  for (let i: u32 = 0; i < rows; i++, c += ldc) {
    let j: u32 = upper ? <u32>max<i32>(0, first + <i32>i) & ~3 : 0;
    for (; j + 4 <= cols; j += 4) {
      const to = c + (<usize>j << 2);
      let four = f32x4.mul(alphas, v128.load(sum_address(z, rows, width, i, j)));
      if (beta != 0) four = f32x4.add(four, f32x4.mul(betas, v128.load(to)));
      v128.store(to, four);
    }
    for (; j < cols; j++) store_sum(sum_address(z, rows, width, i, j), c + (<usize>j << 2), alpha, beta);
  }
}

// C ← alpha·Zᵀ + beta·C, where Z is as above and C is (cols, rows).
function store_sums_transposed(z: usize, rows: u32, cols: u32, c: usize, ldc: usize, alpha: f32, beta: f32): void {
  const width = sums_panel_cols();
  for (let j: u32 = 0; j < cols; j++, c += ldc) {
    let from = sum_address(z, rows, width, 0, j);
    for (let i: u32 = 0; i < rows; i++, from += <usize>width << 2) store_sum(from, c + (<usize>i << 2), alpha, beta);
  }
}

// The address of element (i, j) of Z, which is laid out as (panels, rows, width).
@inline function sum_address(z: usize, rows: u32, width: u32, i: u32, j: u32): usize {
  return z + ((<usize>(j & ~(width - 1)) * rows + <usize>i * width + (j & (width - 1))) << 2);
}

@inline function store_sum(sum: usize, element: usize, alpha: f32, beta: f32): void {
  let value = alpha * load<f32>(sum);
  if (beta != 0) value += beta * load<f32>(element);
  store<f32>(element, value);
}

export function gemm_nn_pack_items(args: GemmNnArgs): u32 {
  return count_pack_items(args, false);
}

export function gemm_nn_pack(args: GemmNnArgs, item: u32): void {
  run_pack_item(args, item, false);
}

export function gemm_nn(args: GemmNnArgs, item: u32): void {
  run_gemm_item(args, item, false, false, 0, 0);
}

export function gemm_nt_pack_items(args: GemmNtArgs): u32 {
  return count_pack_items(args, true);
}

export function gemm_nt_pack(args: GemmNtArgs, item: u32): void {
  run_pack_item(args, item, true);
}

export { gemm_nn_pack as gemm_tn_pack, gemm_nn_pack_items as gemm_tn_pack_items };
export { count_gemm_items as gemm_nn_items, count_gemm_items as gemm_nt_items, count_gemm_items as gemm_tn_items };

export function gemm_nt(args: GemmNtArgs, item: u32): void {
  run_gemm_item(args, item, false, true, 0, 0);
}

export function gemm_tn(args: GemmTnArgs, item: u32): void {
  run_gemm_item(args, item, true, false, 0, 0);
}
