/**
 * Tests of the kernels of layers and of the forward pass whose only difficulty is their sizes: odd sizes, sizes around the edges of
 * workgroups, operands within larger buffers, and more rows than a grid has workgroups along one axis.
 */

import { columnSquares, columnSquaresCase } from "../../../src/device/kernels/column_squares.ts";
import * as combine from "../../../src/device/kernels/combine.ts";
import * as cg from "../../../src/device/kernels/conjugate_gradient.ts";
import {
  causalConvolution,
  convolutionCase,
} from "../../../src/device/kernels/forward/causal_convolution.ts";
import { crossEntropy, crossEntropyCase } from "../../../src/device/kernels/forward/cross_entropy.ts";
import { klDivergence, klDivergenceCase } from "../../../src/device/kernels/forward/kl_divergence.ts";
import * as norms from "../../../src/device/kernels/forward/normalize.ts";
import { rotary, rotaryCase } from "../../../src/device/kernels/forward/rotary.ts";
import * as rows from "../../../src/device/kernels/forward/rows.ts";
import { signed } from "../../../src/device/kernels/kernel_case.ts";
import { mirrorUpper, mirrorUpperCase } from "../../../src/device/kernels/mirror_upper.ts";
import { rowDot, rowDotCase } from "../../../src/device/kernels/row_dot.ts";
import * as search from "../../../src/device/kernels/search_grids.ts";
import { chooseInRows, chooseInRowsCase } from "../../../src/device/kernels/selection/choose_in_rows.ts";
import { updateBlock, updateBlockCase } from "../../../src/device/kernels/selection/update_block.ts";
import { copy2d, copyCase } from "../../../src/device/kernels/transfer/copy2d.ts";
import * as gather from "../../../src/device/kernels/transfer/gather.ts";
import { unpackUpper, unpackUpperCase } from "../../../src/device/kernels/transfer/unpack_upper.ts";
import { zeroColumns, zeroColumnsCase } from "../../../src/device/kernels/zero_columns.ts";
import { testKernel } from "../../support/kernel_cases.ts";

const EXACT = { tolerance: 0 }, CLOSE = { tolerance: 1e-6 };

/** Returns a case with other operands. */
function withOperands<T, C>(one: C & { readonly buffers: () => T }, changed: (before: T) => Partial<T>) {
  return { ...one, buffers: () => ({ ...one.buffers(), ...changed(one.buffers()) }) };
}

const SUMMED = [[1, 1], [7, 31], [33, 15], [64, 16], [129, 172], [4097, 2], [5000, 49], [0, 5]];
testKernel(columnSquares, CLOSE, [
  "adds the squares of the rows to the sums of the columns, and writes nothing else",
  ...SUMMED.map(([rows, cols]) => columnSquaresCase(rows, cols)),
], [
  "gives exactly 0 for a column of zeros",
  withOperands(columnSquaresCase(100, 18), ({ x }) => ({
    x: x.map((value, i) => (i - 3) % 23 % 13 === 4 ? 0 : value),
    sums: new Float32Array(23),
  })),
]);

const dot = rowDotCase(9, 1000), { ldx } = dot.params;
testKernel(rowDot, CLOSE, [
  "adds the dot products of rows to the sums",
  ...[[1, 1], [7, 31], [33, 15], [129, 172], [2, 4097], [65_537, 3]].map(([rows, cols]) =>
    rowDotCase(rows, cols)
  ),
], ["computes squared norms if both operands are the same buffer", {
  ...dot,
  params: { ...dot.params, y_offset: 3, ldy: ldx, scale: 1 },
  buffers: () => {
    const x = signed(3 + 9 * ldx, 2);
    return { x, y: x, sums: new Float32Array(9 * 3 + 7) };
  },
}]);

/** Tiles that share words of the mask with their neighbours. */
const SMALL_TILES = [[1, 1, 0, 0], [7, 31, 2, 5], [33, 127, 0, 30], [2, 4097, 1, 29], [
  5000,
  2,
  0,
  63,
]] as const;
const TILES = [...SMALL_TILES, [5, 172, 3, 64]] as const;
testKernel(combine.maskedCombine, CLOSE, [
  "uses different factors for kept and pruned entries",
  ...TILES.map(combine.maskedCombineCase),
]);
testKernel(combine.scaleTile, CLOSE, [
  "multiplies each element by the factor of its column, and of its row",
  ...[0, 1].flatMap((has_left) => TILES.map((tile) => combine.scaleTileCase(tile, has_left))),
]);
testKernel(cg.cgStep, CLOSE, [
  "updates the iterate, and the residual at kept entries, also where the denominator is not positive",
  ...SMALL_TILES.map(cg.cgStepCase),
]);
testKernel(cg.cgDirection, CLOSE, [
  "adds the old direction, scaled by the ratio of two sums of its row, to the residual",
  ...SMALL_TILES.map(cg.cgDirectionCase),
]);
testKernel(
  zeroColumns,
  EXACT,
  ...([["no", () => false], ["every", () => true], ["some", (column: number) => column % 3 === 1]] as const)
    .map(
      ([which, isDead]) =>
        [
          `zeroes exactly the dead columns, even infinities, if ${which} column is dead`,
          ...[[1, 1], [7, 31], [33, 127], [129, 172], [2, 4097], [5000, 2]].map(([rows, cols]) =>
            withOperands(zeroColumnsCase(rows, cols, 5, isDead), ({ w }) => ({ w: w.fill(Infinity, 0, 1) }))
          ),
        ] as const,
    ),
);

const COPIED = [[1, 1], [7, 31], [33, 127], [129, 172], [1000, 3], [1, 1000], [31, 1], [260, 1031]];
testKernel(copy2d, EXACT, ["copies elements", ...COPIED.map(([rows, cols]) => copyCase(rows, cols))], [
  "copies signalling NaNs, subnormals and signed zeros bit for bit",
  {
    params: { rows: 2, cols: 3, source_offset: 0, source_ld: 3, target_offset: 0, target_ld: 3 },
    buffers: () => ({
      source: Uint32Array.of(0x7f800001, 0xffbfffff, 1, 0x807fffff, 0x80000000, 0x7f800000),
      target: new Uint32Array(6),
    }),
  },
]);
testKernel(mirrorUpper, EXACT, [
  "fills the lower triangles of matrices",
  ...[1, 3, 4, 7, 15, 16, 17, 31, 33, 64, 127, 129, 172, 515].map(mirrorUpperCase),
]);

testKernel(gather.gatherColumns, EXACT, [
  "copies the elements whose source is in a tile of the source",
  ...[[1, 1, 1], [3, 7, 5], [33, 31, 64], [40, 300, 200]].map(([rows, cols, sourceCols]) =>
    gather.gatherColumnsCase(rows, cols, 3, 2, sourceCols)
  ),
]);
/** The target tile and the source tile: row and column of the first element, and the number of rows and columns. */
const GATHERED = [
  [[0, 0, 1, 1], [0, 0, 1, 1]],
  [[0, 32, 32, 9], [0, 0, 32, 32]],
  [[32, 32, 9, 9], [0, 32, 32, 9]],
  [[0, 0, 32, 32], [0, 32, 32, 9]],
  [[5, 20, 300, 200], [5, 20, 300, 200]],
] as const;
testKernel(gather.gatherSymmetric, EXACT, [
  "copies the elements of a target tile whose source is in a source tile",
  ...GATHERED.map(([to, from]) => gather.gatherSymmetricCase(to, from)),
]);
testKernel(gather.gatherBits, EXACT, [
  "permutes the bits of rows, and clears the padding",
  ...[[1, 1], [3, 31], [5, 32], [70, 33], [9, 300]].map(([rows, cols]) => gather.gatherBitsCase(rows, cols)),
]);
/** The order of the matrix, the rows and columns that are copied, and the first row and column. They lie beside, on and off the diagonal. */
const UNPACKED = [
  [1, 1, 1, 0, 0],
  [7, 7, 7, 0, 0],
  [33, 5, 31, 3, 0],
  [129, 31, 33, 64, 64],
  [172, 7, 127, 0, 45],
  [172, 40, 20, 100, 110],
  [172, 3, 20, 100, 10],
  [1000, 1000, 172, 0, 828],
];
testKernel(unpackUpper, EXACT, [
  "unpacks strips of a packed upper triangle into tiles",
  ...UNPACKED.map(([n, rows, cols, first_row, first_col]) =>
    unpackUpperCase({ n, rows, cols, first_row, first_col }, 3, 5)
  ),
]);

/** The numbers of rows and columns of the smaller matrix, and the number of rows of the larger one. */
const ROWS = [[1, 1, 1], [5, 7, 9], [64, 129, 200], [3, 40_001, 4], [700, 3, 1000]];
testKernel(rows.gatherRows, EXACT, [
  "copies rows bit for bit",
  ...ROWS.map(([count, cols, all]) => rows.gatherRowsCase(count, cols, all)),
]);
testKernel(rows.addRows, { tolerance: 2e-7 }, [
  "adds rows in order, or rows with an index and a factor each, and changes no other row",
  ...[0, 1].flatMap((has_index) =>
    ROWS.map(([count, cols, all]) => rows.addRowsCase(count, cols, all + 3, has_index))
  ),
]);

const OPTIONS = [[0, 0, 0], [0, 1, 2], [1, 0, 1], [1, 1, 0]] as const;
testKernel(search.gridErrors, { tolerance: 1e-5 }, [
  "adds up the errors of the candidates",
  ...[[1, 1], [3, 5], [70, 64], [5, 131], [9, 1003]].flatMap(([rows, cols]) =>
    OPTIONS.map((options) => search.gridErrorsCase(rows, cols, options))
  ),
]);
testKernel(search.chooseGrids, { ...CLOSE, scaleOf: (expected) => expected }, [
  "chooses the candidate with the smallest error, and of equal errors the first",
  ...[1, 64, 300].flatMap((count) => OPTIONS.map((options) => search.chooseGridsCase(count, options))),
]);

testKernel(chooseInRows, EXACT, [
  "keeps the largest scores of each row, also with many ties, and with forced entries",
  ...[[1, 1], [7, 31], [9, 33], [33, 127], [5, 172], [3, 9001]].flatMap(([rows, cols]) =>
    [0, 1].flatMap((has_forced) => {
      // The first row prunes nothing, the second row everything, and the others different numbers of entries.
      const counts = Array.from({ length: rows }, (_, r) => r < 2 ? r * cols : (r * 7919) % cols);
      const one = chooseInRowsCase(rows, cols, has_forced, counts);
      return [one, withOperands(one, ({ x }) => ({ x: x.map((value) => Math.round(value * 2) / 2) }))];
    })
  ),
]);
const EDGES = [1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 65, 127, 128, 129, 130];
testKernel(
  updateBlock,
  EXACT,
  [
    "updates and scores square blocks",
    ...EDGES.flatMap((edge) => [2, 3, 4].map((padding) => updateBlockCase(edge, edge, edge, padding, 0))),
  ],
  [
    "updates and scores a block that is far taller than wide, and one of 256 columns",
    updateBlockCase(700, 33, 33, 3, 0),
    updateBlockCase(70, 256, 256, 4, 0),
  ],
  ["gives forced entries the key 0", ...[0, 130].map((depth) => updateBlockCase(71, 130, depth, 2, 1))],
  [
    "copies and scores the weights if there are no earlier blocks",
    ...[1, 66, 128].map((cols) => updateBlockCase(67, cols, 0, 3, 0)),
  ],
);

const NORMALISED = [[1, 1], [7, 7], [3, 31], [33, 33], [5, 127], [2, 129], [129, 172], [7, 1000], [2, 12289]];
/** Returns a case with another eps. */
const withEps = <C extends { readonly params: Readonly<Record<"rows" | "cols" | "eps", number>> }>(
  eps: number,
  one: C,
): C => ({ ...one, params: { ...one.params, eps } });
const small = (value: number) => 1e-4 * value;
testKernel(
  norms.layerNorm,
  CLOSE,
  [
    "normalises rows",
    ...NORMALISED.map(([rows, cols]) => withEps(1e-5, norms.layerNormCase(rows, cols, (x) => 4 * (x - 1)))),
  ],
  [
    "computes the variance accurately if the mean is much larger than the deviation",
    withEps(1e-5, norms.layerNormCase(4, 1000, (value) => 3000 + value)),
  ],
  [
    "computes the mean accurately if the first element of a row is far from all others",
    withOperands(withEps(1e-5, norms.layerNormCase(4, 3000)), ({ x }) => ({
      x: x.map((value, i) => i % 3000 === 0 ? 1000 : value),
    })),
  ],
  ["returns the bias for constant rows", withEps(1e-5, norms.layerNormCase(3, 172, () => 0.1))],
  [
    "adds eps to a small variance",
    withEps(1e-6, norms.layerNormCase(3, 33, small)),
  ],
);
testKernel(norms.rmsNorm, CLOSE, [
  "normalises rows, also more than a grid has workgroups along one axis",
  ...NORMALISED.map(([rows, cols]) => withEps(1e-5, norms.rmsNormCase(rows, cols))),
  withEps(1e-6, norms.rmsNormCase(65537, 2)),
], [
  "adds eps to the mean square of a row that is small or zero",
  withEps(1e-6, norms.rmsNormCase(3, 33, small)),
  withEps(1e-6, norms.rmsNormCase(2, 33, () => 0)),
]);
testKernel(norms.divideByRms, CLOSE, [
  "divides rows by the root mean squares of other rows, and adds eps to the mean square of zeros",
  ...NORMALISED.flatMap(([rows, cols]) =>
    [1, 33, 300].map((other) => withEps(1e-5, norms.divideByRmsCase(rows, cols, other)))
  ),
  withEps(1e-6, norms.divideByRmsCase(65537, 2, 3)),
  withEps(1e-6, norms.divideByRmsCase(2, 33, 5, () => 0)),
]);

testKernel(rotary, { tolerance: 2e-7 }, [
  "rotates the pairs of each head, and changes no other element",
  ...[
    { rows: 1, tokens: 1, heads: 1, head_stride: 2, pairs: 1, offset: 0, ld: 2, interleaved: 0 },
    { rows: 6, tokens: 3, heads: 2, head_stride: 8, pairs: 4, offset: 0, ld: 16, interleaved: 0 },
    { rows: 10, tokens: 5, heads: 3, head_stride: 11, pairs: 3, offset: 4, ld: 40, interleaved: 1 },
    { rows: 66, tokens: 33, heads: 5, head_stride: 14, pairs: 7, offset: 1, ld: 75, interleaved: 1 },
    { rows: 130, tokens: 130, heads: 4, head_stride: 128, pairs: 64, offset: 512, ld: 1024, interleaved: 0 },
  ].map(rotaryCase),
]);
testKernel(causalConvolution, { tolerance: 5e-7 }, [
  "convolves windows of any length with any number of taps, and more elements than one work item has",
  ...[1, 2, 4, 9].flatMap((taps) =>
    [1, 3, 40].map((tokens) => convolutionCase({ tokens, taps, head_dim: 33, batch: 3 }))
  ),
  convolutionCase({ tokens: 300, head_dim: 64, heads: 2 }),
], [
  "reads the last tokens before those of the pass",
  ...[1, 2, 50].flatMap((past) =>
    [1, 5].map((tokens) => convolutionCase({ tokens, past, head_dim: 6, heads: 5, batch: 2 }))
  ),
]);

const LOGITS = [[7, 7], [33, 31], [5, 33], [129, 127], [3, 129], [172, 172], [31, 1000], [2, 50272]];
testKernel(crossEntropy, CLOSE, [
  "computes the losses of rows of logits, with and without padding",
  ...[[1, 1], ...LOGITS].flatMap(([rows, cols]) =>
    [0, 5].map((padding) => crossEntropyCase(rows, cols, padding))
  ),
], [
  "does not overflow for large logits, and is exact for a target that is almost certain",
  withOperands(crossEntropyCase(3, 4, 0), () => ({
    logits: Float32Array.of(1000, 999, -1000, 0, -1e30, 88, 89, 90, -5000, -5001, -5002, -5000),
    targets: Uint32Array.of(0, 3, 2),
    loss: new Float32Array(3),
  })),
]);
testKernel(klDivergence, CLOSE, [
  "compares rows of logits, with and without padding",
  ...LOGITS.flatMap(([rows, cols]) => [0, 5].map((padding) => klDivergenceCase(rows, cols, padding))),
], [
  "does not overflow, and ignores tokens that the reference excludes",
  withOperands(klDivergenceCase(3, 4, 0), () => ({
    reference: Float32Array.of(1000, 999, -1000, -1e30, 88, 89, 90, -5000, -5001, -5002, -5000, -5003),
    logits: Float32Array.of(999, 1000, 0, 0, 90, 89, 88, -1e30, 5001, 5002, 5000, 5003),
    divergence: new Float32Array(3),
  })),
], [
  "is 0 for the same logits, and for logits that differ by a constant",
  withOperands(klDivergenceCase(3, 5, 0), () => ({
    reference: Float32Array.of(1, -2, 3, 0.5, 8, 1, -2, 3, 0.5, 8, 1, -2, 3, 0.5, 8),
    logits: Float32Array.of(1, -2, 3, 0.5, 8, 5, 2, 7, 4.5, 12, 8, 1, -2, 3, 0.5),
    divergence: new Float32Array(3),
  })),
]);
