/**
 * Tests that check_finite and check_symmetry find the defect with the lowest index, respect the tolerance,
 * and report nothing for good input.
 */

import {
  checkFinite,
  checkSymmetry,
  NOTHING_FOUND,
  OVERFLOW_BITS,
} from "../../../src/device/kernels/transfer/check.ts";
import type { FloatDtype } from "../../../src/tensor/dtype.ts";
import { testKernel } from "../../support/kernel_cases.ts";
import { normals, uniform } from "../../../scripts/fixtures/random.ts";

/** A check of all elements after `offset`, in rows of `cols` elements that are `ld` elements apart. */
function finiteCase(
  x: Float32Array<ArrayBuffer>,
  options: {
    readonly offset?: number;
    readonly cols?: number;
    readonly ld?: number;
    readonly dtype?: FloatDtype;
    readonly before?: number;
  } = {},
) {
  const { offset = 0, dtype = "F32", before = NOTHING_FOUND } = options;
  const { cols = x.length - offset, ld = cols } = options;
  const count = Math.ceil((x.length - offset) / ld) * cols;
  return {
    params: { count, offset, cols, ld, limit: OVERFLOW_BITS[dtype], slot: 1 },
    buffers: () => ({ x, first: Uint32Array.of(17, before, 18) }),
  };
}

/** Returns numbers of which some are not finite. */
function withDefects(count: number): Float32Array<ArrayBuffer> {
  const values = normals(count + 3, count), next = uniform(count);
  for (let i = 0; i < 5; i++) values[3 + Math.floor(next() * count)] = [NaN, Infinity, -Infinity][i % 3];
  return values;
}

const words = (...bits: number[]) => new Float32Array(Uint32Array.from(bits).buffer);
const place = (length: number, ...places: [index: number, value: number][]) => {
  const values = new Float32Array(length);
  for (const [index, value] of places) values[index] = value;
  return values;
};
const padded = normals(3 + 11 * 40, 8).map((value, i) => i < 3 || (i - 3) % 40 >= 37 ? NaN : value);

testKernel(
  checkFinite,
  { tolerance: 0 },
  ...[1, 7, 31, 33, 127, 129, 172, 1000, 131071, 300007].map((count) =>
    [
      `finds the first of several non-finite values among ${count} elements`,
      finiteCase(normals(count + 3, count), { offset: 3 }),
      finiteCase(withDefects(count), { offset: 3 }),
    ] as const
  ),
  [
    "checks the last element, but not the elements before the offset",
    finiteCase(place(2051, [2050, NaN])),
    finiteCase(place(2051, [2, NaN]), { offset: 3 }),
  ],
  [
    "reports every NaN and both infinities, but no large or subnormal number",
    ...[0x7f800000, 0xff800000, 0x7f800001, 0xffffffff, 0x7fc00000].map((word) => finiteCase(words(0, word))),
    finiteCase(words(0x7f7fffff, 0xff7fffff, 1, 0x80000001, 0x80000000)),
  ],
  [
    "skips the padding between rows, and counts elements without it",
    finiteCase(padded, { offset: 3, cols: 37, ld: 40 }),
    finiteCase(padded.map((value, i) => i === 3 + 7 * 40 + 36 || i === 3 + 9 * 40 ? Infinity : value), {
      offset: 3,
      cols: 37,
      ld: 40,
    }),
  ],
  ...([["F16", 65519.99, 65520], ["BF16", 3.3961e38, 3.3962e38]] as const).map(([dtype, ...values]) =>
    [
      `finds exactly the numbers that overflow in ${dtype}`,
      ...[...values, NaN].flatMap((value) =>
        [value, -value].map((x) => finiteCase(Float32Array.of(0, x), { dtype }))
      ),
    ] as const
  ),
  [
    "does not overwrite a lower index that its slot already contains",
    ...[1, 3].map((before) => finiteCase(Float32Array.of(0, 0, NaN, NaN), { before })),
  ],
);

/** The place of a comparison: rows and columns of the strip, and the tile with the mirror images, from row col0 on. */
type Place = Readonly<Record<"n" | "row0" | "rows" | "col0" | "cols" | "tile_col0", number>>;

/** Compares elements of a matrix of order n with their mirror images. */
function symmetryOf(matrix: Float32Array, { n, ...params }: Place, tolerance: number) {
  const { row0, rows, col0, cols, tile_col0 } = params, ldupper = n - tile_col0 + 1;
  return {
    params: { ...params, ldstrip: n, ldupper, slot: 1, tolerance },
    buffers: () => {
      const upper = new Float32Array(cols * ldupper).fill(1e9);
      for (let c = 0; c < cols; c++) {
        upper.set(matrix.subarray((col0 + c) * n + tile_col0, (col0 + c + 1) * n), c * ldupper);
      }
      return {
        strip: Float32Array.from(matrix.subarray(row0 * n, (row0 + rows) * n)),
        upper,
        diagonal: Float32Array.from({ length: n }, (_, i) => matrix[i * n + i]),
        first: Uint32Array.of(NOTHING_FOUND, NOTHING_FOUND),
      };
    },
  };
}

/** Returns a symmetric matrix, and copies of it with one to eight defects, some of which are outside of the comparison. */
function withAsymmetries(n: number): Float32Array<ArrayBuffer>[] {
  const matrix = normals(n * n, n), next = uniform(n);
  for (let i = 0; i < n; i++) {
    matrix[i * n + i] = 4 + i % 5;
    for (let j = 0; j < i; j++) matrix[i * n + j] = matrix[j * n + i];
  }
  const matrices = [matrix.slice()];
  for (let defects = 1; defects <= 8; defects++) {
    const i = Math.floor(next() * n), j = Math.floor(next() * n);
    if (i !== j) matrix[i * n + j] += 1;
    matrices.push(matrix.slice());
  }
  return matrices;
}

/** Returns a matrix of order 9 with alternating diagonal entries, and `factor` of the allowed difference at (i, j). */
function nearTolerance(i: number, j: number, factor: number): Float32Array {
  const matrix = new Float32Array(81);
  for (let d = 0; d < 9; d++) matrix[d * 10] = d % 2 ? 16 : 4;
  matrix[i * 9 + j] = factor * 2 ** -10 * Math.sqrt(matrix[i * 10] * matrix[j * 10]);
  return matrix;
}

const whole = (n: number) => ({ n, row0: 0, rows: n, col0: 0, cols: n, tile_col0: 0 });
const PLACES: readonly Place[] = [
  whole(1),
  whole(7),
  { n: 33, row0: 5, rows: 28, col0: 0, cols: 31, tile_col0: 0 },
  { n: 129, row0: 64, rows: 65, col0: 0, cols: 64, tile_col0: 64 },
  { n: 129, row0: 64, rows: 65, col0: 64, cols: 65, tile_col0: 64 },
  { n: 172, row0: 100, rows: 31, col0: 37, cols: 127, tile_col0: 98 },
  { n: 172, row0: 3, rows: 7, col0: 100, cols: 33, tile_col0: 0 },
];

testKernel(
  checkSymmetry,
  { tolerance: 0 },
  ...PLACES.map((comparison) =>
    [
      `finds the first asymmetry in ${comparison.rows} rows from row ${comparison.row0} and ${comparison.cols} columns from column ${comparison.col0} of a matrix of order ${comparison.n}`,
      ...withAsymmetries(comparison.n).map((matrix) => symmetryOf(matrix, comparison, 1e-3)),
    ] as const
  ),
  [
    "accepts a difference just under the tolerance and reports one just over it",
    ...[[1, 0], [8, 0], [5, 4], [8, 7], [7, 2]].flatMap(([i, j]) =>
      [1 - 1e-6, -1 - 1e-6].map((factor) => symmetryOf(nearTolerance(i, j, factor), whole(9), 2 ** -10))
    ),
  ],
  [
    "compares correctly if the product of two diagonal elements overflows or underflows f32",
    ...[1e30, 1e-30].flatMap((d) =>
      [1.5e-3, 0.5e-3].map((factor) => symmetryOf(Float32Array.of(d, factor * d, 0, d), whole(2), 1e-3))
    ),
  ],
);
