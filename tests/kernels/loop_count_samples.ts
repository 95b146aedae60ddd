/**
 * Dispatches of every kernel, with which `loop_count_test.ts` counts the loop iterations of the shaders.
 */

import { biasActivate, gatedMultiply, softCap } from "../../src/kernels/forward/activate.ts";
import { attention } from "../../src/kernels/forward/attention.ts";
import { checkFinite, checkSymmetry } from "../../src/kernels/transfer/check.ts";
import { fromFloat32, toFloat32 } from "../../src/kernels/transfer/convert.ts";
import { copy2d, copyTransposed } from "../../src/kernels/transfer/copy2d.ts";
import { crossEntropy } from "../../src/kernels/forward/cross_entropy.ts";
import { columnSquares } from "../../src/kernels/column_squares.ts";
import { getDiagonal, mirrorUpper, setDiagonal } from "../../src/kernels/diagonal.ts";
import { gatherBits, gatherColumns, gatherSymmetric } from "../../src/kernels/transfer/gather.ts";
import { gemmNN, gemmNT, gemmTN } from "../../src/kernels/gemm.ts";
import { productNT, productTN } from "../../src/kernels/product.ts";
import type { Kernel } from "../../src/kernels/kernel.ts";
import { layerNorm, rmsNorm } from "../../src/kernels/forward/normalize.ts";
import { removeWeights } from "../../src/kernels/remove_weights.ts";
import { pruneBlock, pruneBlockNM } from "../../src/kernels/prune_block.ts";
import { encodeCodes, fitGrids, rowExtremes } from "../../src/kernels/quantization.ts";
import { quantizeBlock } from "../../src/kernels/quantize_block.ts";
import { reverseCholesky } from "../../src/kernels/reverse_cholesky.ts";
import { rotary } from "../../src/kernels/forward/rotary.ts";
import { addRows, gatherRows } from "../../src/kernels/forward/rows.ts";
import { rowDot } from "../../src/kernels/row_dot.ts";
import {
  countTies,
  keyHistogram,
  rankTies,
  scoreKeys,
  selectDigit,
} from "../../src/kernels/selection/select.ts";
import { finishSelection, refineHistogram } from "../../src/kernels/selection/select_block.ts";
import { updateBlock } from "../../src/kernels/selection/update_block.ts";
import { unpackUpper } from "../../src/kernels/transfer/unpack_upper.ts";
import {
  chooseEntries,
  chooseInGroups,
  countScoreTies,
  scoreHistogram,
} from "../../src/kernels/selection/choose.ts";
import { chooseInRows } from "../../src/kernels/selection/choose_in_rows.ts";
import { zeroColumns } from "../../src/kernels/zero_columns.ts";
import { DEFAULT_TILE_EDGE } from "../../src/backend/tiled_matrix.ts";
import { cgDirection, cgStep } from "../../src/kernels/conjugate_gradient.ts";
import { maskedCombine, scaleTile } from "../../src/kernels/combine.ts";
import { MAX_GROUP } from "../../src/sparsity/pattern.ts";

/** Parameters for one dispatch of a kernel, and the words that fill its buffers. */
export interface Sample {
  readonly kernel: Kernel;
  readonly params: Readonly<Record<string, number>>;
  readonly fill?: Readonly<Record<string, number>>;
}

/**
 * Places of the operands of a matrix product. In the first element, the rows of B start at multiples of 16
 * bytes, and in the second they do not.
 */
const LAYOUTS = [0, 1].map((b_offset) => (
  { a_offset: 0, lda: 320, b_offset, ldb: 320, c_offset: 0, ldc: 320, alpha: 1, beta: 1, upper: 0 }
));

/**
 * Parameters for a block of `size` columns. In the first element, the rows of U start at multiples of 16
 * bytes, and in the second they do not.
 */
const blocks = (size: number) =>
  [0, 1].map((u_offset) => (
    { rows: 13, size, row0: 0, ldwork: size, u_offset, ldu: 256, w_offset: 0, ldw: 256, first: 37, words: 12 }
  ));

/**
 * Every key equals the threshold, and `selection` asks for more entries than a row has. This makes the search
 * of `prune_block` as long as possible.
 */
const ALL_TIED = { keys: 300, selection: 300 };

/** Parameters of the elementwise kernels on tiles. The others are 1. */
const ELEMENTWISE: Readonly<Record<string, number>> = {
  rows: 9,
  cols: 40,
  ld: 40,
  row0: 0,
  words: 2,
  stride: 3,
};

/** At least one dispatch of every kernel, at sizes that run every loop of its shader. */
export const SAMPLES: readonly Sample[] = [
  ...[gemmNN, gemmNT, gemmTN, productNT, productTN].flatMap((kernel) =>
    LAYOUTS.map((layout) => ({ kernel, params: { m: 19, n: 131, k: 301, ...layout } }))
  ),
  ...[1, 8, 33, 172, 255, 256].map((size) => (
    {
      kernel: reverseCholesky,
      params: { size, offset: 0, ld: 256, r_offset: 0, ldr: 256, u_offset: 0, ldu: 256, first: 0 },
    }
  )),
  ...[1, 17, 31, 129, 172, 254, 256].flatMap(blocks).map((params) => ({
    kernel: pruneBlock,
    params,
    fill: ALL_TIED,
  })),
  ...[[1, 2], [100, 3], [129, 4], [255, 5], [256, 4], [256, 64], [254, 127], [256, MAX_GROUP]].flatMap((
    [size, group],
  ) =>
    blocks(size).map((params) => (
      { kernel: pruneBlockNM, params: { ...params, keep: group >> 1, group, has_forced: 1 } }
    ))
  ),
  // All weights have the score 0, and `limits` does not stop the rows.
  ...[[12, 0, 12], [1100, 200, 30]].map(([ld, start, steps]) => (
    {
      kernel: removeWeights,
      params: { rows: 2, cols: ld, ld, depth: 1, start, steps, keep: 0, group: 0 },
      fill: { limits: 300, states: 1, diagonal: 0x3f800000 },
    }
  )),
  ...[[1, 0, 0], [255, 0, 0], [256, 4, 0], [256, 64, 0], [256, 128, 256], [129, 4, 100], [256, 0, 256]]
    .flatMap(
      ([size, group, grid_size]) =>
        blocks(size).map((params) => (
          {
            kernel: quantizeBlock,
            params: {
              ...params,
              keep: group >> 1,
              group,
              grid_size,
              grids: 3,
              max_code: 15,
              symmetric: 0,
            },
          }
        )),
    ),
  ...[gatherColumns, gatherSymmetric, gatherBits].map((kernel) => ({
    kernel,
    params: Object.fromEntries(Object.keys(kernel.params).map((name) => [name, ELEMENTWISE[name] ?? 1])),
  })),
  { kernel: rowExtremes, params: { rows: 3, cols: DEFAULT_TILE_EDGE, ld: DEFAULT_TILE_EDGE, row0: 0 } },
  { kernel: fitGrids, params: { count: 70, max_code: 15, symmetric: 0 } },
  { kernel: encodeCodes, params: { count: 999, cols: 40, q_offset: 0, row0: 0, grid_size: 8, grids: 5 } },
  {
    kernel: copy2d,
    params: { rows: 9, cols: 40, source_offset: 0, source_ld: 40, target_offset: 0, target_ld: 40 },
  },
  {
    kernel: copyTransposed,
    params: { rows: 9, cols: 40, source_offset: 0, source_ld: 40, target_offset: 0, target_ld: 40 },
  },
  { kernel: getDiagonal, params: { count: 70, row: 0, col: 0, ld: 70, first: 0 } },
  { kernel: setDiagonal, params: { count: 70, ld: 70, first: 0 } },
  { kernel: mirrorUpper, params: { size: 20, ld: 20 } },
  { kernel: zeroColumns, params: { rows: 9, cols: 40, ld: 40, first: 0 }, fill: { dead: 1 } },
  {
    kernel: chooseInRows,
    params: { rows: 3, cols: 9000, ld: 9000, row0: 0, words: 282, has_forced: 0 },
  },
  ...[scoreHistogram, countScoreTies, chooseEntries].map((kernel) => ({
    kernel,
    params: {
      rows: 9,
      cols: 2100,
      ld: 2100,
      row0: 0,
      first: 5,
      words: 66,
      has_forced: 1,
      ...(kernel === scoreHistogram ? { level: 0 } : {}),
    },
  })),
  ...[maskedCombine, scaleTile, cgStep, cgDirection].map((kernel) => ({
    kernel,
    params: Object.fromEntries(Object.keys(kernel.params).map((name) => [name, ELEMENTWISE[name] ?? 1])),
  })),
  {
    kernel: chooseInGroups,
    params: {
      rows: 9,
      cols: 300,
      ld: 300,
      row0: 0,
      first: 0,
      words: 10,
      has_forced: 1,
      keep: 3,
      group: MAX_GROUP,
    },
  },
  { kernel: scoreKeys, params: { rows: 9, cols: 40, ld: 40, first: 0, words: 2, has_forced: 1 } },
  { kernel: keyHistogram, params: { count: 5000, level: 0 } },
  { kernel: selectDigit, params: { level: 0, k: 5 }, fill: { histogram: 1 } },
  { kernel: countTies, params: { rows: 70, cols: 256, accumulate: 0 } },
  { kernel: countTies, params: { rows: 3, cols: 7, accumulate: 1 } },
  { kernel: rankTies, params: { rows: 5000 }, fill: { selection: 1 } },
  ...[0, 40, 256].map((cols) => ({
    kernel: updateBlock,
    params: {
      ...{
        rows: 90,
        cols: Math.max(cols, 1),
        depth: cols,
        row0: 0,
        a_offset: 0,
        lda: 256,
        u_offset: 0,
        ldu: 256,
      },
      ...{ w_offset: 0, ldw: 256, ldwork: 256, first: 0, words: 8, has_forced: 1 },
    },
  })),
  { kernel: refineHistogram, params: { count: 5000, level: 1, k: 5 }, fill: { digits: 1 } },
  { kernel: finishSelection, params: { rows: 5000, cols: 1 }, fill: { digits: 1 } },
  {
    kernel: rowDot,
    params: {
      rows: 3,
      cols: 4096,
      x_offset: 0,
      ldx: 4096,
      y_offset: 0,
      ldy: 4096,
      sums_offset: 0,
      sums_stride: 1,
      scale: 1,
    },
  },
  { kernel: columnSquares, params: { rows: 301, cols: 40, x_offset: 0, ldx: 40 } },
  { kernel: toFloat32, params: { count: 999, dtype: 1, source_offset: 0, target_offset: 0 } },
  { kernel: fromFloat32, params: { count: 999, dtype: 1, source_offset: 0 } },
  {
    kernel: unpackUpper,
    params: { n: 20, rows: 9, cols: 12, first_row: 0, first_col: 0, target_offset: 0, ld: 12 },
  },
  { kernel: checkFinite, params: { count: 5000, offset: 0, cols: 50, ld: 52, limit: 0x7f800000, slot: 0 } },
  {
    kernel: checkSymmetry,
    params: {
      rows: 9,
      cols: 9,
      row0: 0,
      col0: 0,
      ldstrip: 9,
      ldupper: 9,
      tile_col0: 0,
      slot: 0,
      tolerance: 0,
    },
  },
  { kernel: layerNorm, params: { rows: 3, cols: 12_289, eps: 1 } },
  { kernel: rmsNorm, params: { rows: 3, cols: 12_289, eps: 1 } },
  { kernel: biasActivate, params: { rows: 9, cols: 40, has_bias: 1, activation: 3 } },
  {
    kernel: gatedMultiply,
    params: { rows: 9, cols: 40, gate_offset: 0, ld_gate: 40, up_offset: 0, ld_up: 40, activation: 4 },
  },
  { kernel: gatherRows, params: { rows: 9, cols: 40, offset: 0 } },
  { kernel: addRows, params: { rows: 9, cols: 40, offset: 0, has_index: 1, scale: 1 } },
  { kernel: softCap, params: { count: 999, cap: 2 } },
  { kernel: rotary, params: { rows: 9, tokens: 9, heads: 2, head_stride: 8, pairs: 4, offset: 0, ld: 16 } },
  ...[[1, 1, 0], [150, 64, 0], [150, 31, 17], [200, 100, 0], [300, 255, 100], [300, 256, 0], [3, 64, 0, 150]]
    .map(
      ([tokens, head_dim, window, past = 0]) => ({
        kernel: attention,
        params: {
          batch: 1,
          tokens,
          past,
          heads: 1,
          kv_heads: 1,
          head_dim,
          head_stride: head_dim,
          q_offset: 0,
          ldq: head_dim,
          k_offset: 0,
          ldk: head_dim,
          v_offset: 0,
          ldv: head_dim,
          ldo: head_dim,
          scale: 1,
          window,
          soft_cap: 1,
        },
      }),
    ),
  { kernel: crossEntropy, params: { rows: 3, cols: 50_272, ld: 50_272 } },
];
