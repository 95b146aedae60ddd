// Multiplies rows of A by packed columns of B with the micro-kernels. gemm_pack.ts describes the packed panels. A is either
// packed too, or it is stored by rows that are `lda` > 0 bytes apart, and `reads_rows` holds for the numbers of rows and
// steps. For a packed A, `lda` is 0.

import { is_paired } from "./instance";
import { micro_cols, micro_rows, multiply_4x8, multiply_6_rows_by_16, multiply_6x16 } from "./micro_kernels";

// The bytes of a micro-tile, which the products need for the edges of C.
export const MICRO_TILE_BYTES: usize = 6 * 16 * 4;

// The columns of B that are multiplied by all rows of A before the next columns, a multiple of both widths of a micro-tile. With
// the 384 steps of gemm.ts, they take 384 KiB of the second-level cache. Within these columns the micro-tiles go from left to
// right, so the processor fetches C in advance. If they went down, each would wait for a line of C per row.
const CACHED_COLS: u32 = 256;

@inline function multiply(k: u32, a: usize, lda: usize, b: usize, c: usize, ldc: usize, alpha: f32, beta: f32): void {
  if (lda != 0) multiply_6_rows_by_16(k, a, lda, b, c, ldc, alpha, beta);
  else if (is_paired()) multiply_6x16(k, a, b, c, ldc, alpha, beta);
  else multiply_4x8(k, a, b, c, ldc, alpha, beta);
}

// C ← alpha·A·B + beta·C for a micro-tile that extends past the edge of C. Computes the whole micro-tile at `tile` and
// then stores its first `rows` rows and `cols` columns.
function multiply_edge(
  k: u32, a: usize, lda: usize, b: usize, tile: usize, c: usize, ldc: usize, rows: u32, cols: u32, alpha: f32, beta: f32,
): void {
  const width = micro_cols();
  multiply(k, a, lda, b, tile, width << 2, alpha, 0);
  for (let i: u32 = 0; i < rows; i++) {
    for (let j: u32 = 0; j < cols; j++) {
      const element = c + i * ldc + (j << 2);
      let value = load<f32>(tile + ((i * width + j) << 2));
      if (beta != 0) value += beta * load<f32>(element);
      store<f32>(element, value);
    }
  }
}

// C ← alpha·A·B + beta·C for A, (rows, k), packed B, (k, cols), and C with rows that are `ldc` bytes apart. The panels of B have
// `panelSteps` ≥ k steps. The k steps from `packedB` on are multiplied. `tile` has MICRO_TILE_BYTES of temporary memory. With
// `upper`, micro-tiles whose elements all have shift + i > j are skipped. With `triangular`, B has zeros below its diagonal, and
// the rows of B below all diagonal elements of a panel are skipped.
@inline export function multiply_packed(
  k: u32, a: usize, lda: usize, packedB: usize, panelSteps: u32, tile: usize, c: usize, ldc: usize, rows: u32, cols: u32,
  alpha: f32, beta: f32, upper: bool, shift: i32, triangular: bool,
): void {
  const microRows = micro_rows(), microCols = micro_cols(), rowBytes = lda == 0 ? <usize>k << 2 : lda;
  for (let firstCol: u32 = 0; firstCol < cols; firstCol += CACHED_COLS) {
    const endCol = min(cols, firstCol + CACHED_COLS);
    for (let i: u32 = 0; i < rows; i += microRows) {
      const height = min(microRows, rows - i), panel = a + i * rowBytes;
      for (let j = firstCol; j < endCol; j += microCols) {
        const width = min(microCols, cols - j), b = packedB + (<usize>j * panelSteps << 2);
        if (upper && shift + <i32>i > <i32>(j + width) - 1) continue;
        const steps = triangular ? min(k, j + microCols) : k, target = c + i * ldc + (<usize>j << 2);
        if (height == microRows && width == microCols) multiply(steps, panel, lda, b, target, ldc, alpha, beta);
        else multiply_edge(steps, panel, lda, b, tile, target, ldc, height, width, alpha, beta);
      }
    }
  }
}
