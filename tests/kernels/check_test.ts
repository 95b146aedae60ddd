/**
 * Tests that check_finite and check_symmetry find the defect with the lowest index, respect the tolerance,
 * and report nothing for good input.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/backend/backend.ts";
import type { FloatDtype } from "../../src/tensor/dtype.ts";
import {
  checkFinite,
  checkSymmetry,
  NOTHING_FOUND,
  OVERFLOW_BITS,
} from "../../src/kernels/transfer/check.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32, upload } from "../support/device.ts";
import { normals, uniform } from "../support/random.ts";

async function firstNonFinite(
  backend: Backend,
  values: Float32Array<ArrayBuffer>,
  offset = 0,
  before = NOTHING_FOUND,
  layout: { readonly cols?: number; readonly ld?: number; readonly dtype?: FloatDtype } = {},
): Promise<number> {
  const x = upload(backend, values), first = upload(backend, Uint32Array.of(17, before, 18));
  const count = values.length - offset, { cols = count, ld = count, dtype = "F32" } = layout;
  const rows = Math.ceil(count / ld);
  const params = { count: rows * cols, offset, cols, ld, limit: OVERFLOW_BITS[dtype], slot: 1 };
  backend.dispatch(checkFinite, { x, first }, params);
  const [left, found, right] = await downloadU32(backend, first);
  deepStrictEqual([left, right], [17, 18]);
  x.destroy();
  first.destroy();
  return found;
}

eachBackend("check_finite", (backend) => {
  for (const count of [1, 7, 31, 33, 127, 129, 172, 1000, 131071, 300007]) {
    it(`finds the first of several non-finite values among ${count} elements`, async () => {
      const values = normals(count + 3, count);
      deepStrictEqual(await firstNonFinite(backend(), values, 3), NOTHING_FOUND);
      const nonFinite = [NaN, Infinity, -Infinity];
      const next = uniform(count);
      const places = Array.from({ length: 5 }, () => Math.floor(next() * count));
      places.forEach((place, i) => values[3 + place] = nonFinite[i % 3]);
      deepStrictEqual(await firstNonFinite(backend(), values, 3), Math.min(...places));
    });
  }

  it("checks the last element, but not the elements before the offset or after the count", async () => {
    const values = new Float32Array(2051);
    values[2050] = NaN;
    deepStrictEqual(await firstNonFinite(backend(), values), 2050);
    values[2050] = 0;
    values[2] = NaN;
    deepStrictEqual(await firstNonFinite(backend(), values, 3), NOTHING_FOUND);
  });

  it("reports every NaN and both infinities, but no large or subnormal number", async () => {
    for (const word of [0x7f800000, 0xff800000, 0x7f800001, 0xffffffff, 0x7fc00000]) {
      const values = new Float32Array(Uint32Array.of(0, word).buffer);
      deepStrictEqual(await firstNonFinite(backend(), values), 1);
    }
    const values = new Float32Array(Uint32Array.of(0x7f7fffff, 0xff7fffff, 1, 0x80000001, 0x80000000).buffer);
    deepStrictEqual(await firstNonFinite(backend(), values), NOTHING_FOUND);
  });

  it("skips the padding between rows, and counts elements without it", async () => {
    const cols = 37, ld = 40, rows = 11, values = normals(3 + rows * ld, 8);
    for (let i = 0; i < values.length; i++) if (i < 3 || (i - 3) % ld >= cols) values[i] = NaN;
    deepStrictEqual(await firstNonFinite(backend(), values, 3, NOTHING_FOUND, { cols, ld }), NOTHING_FOUND);
    values[3 + 7 * ld + 36] = Infinity;
    values[3 + 9 * ld] = NaN;
    deepStrictEqual(await firstNonFinite(backend(), values, 3, NOTHING_FOUND, { cols, ld }), 7 * cols + 36);
  });

  for (
    const [dtype, largest, overflowing] of [["F16", 65519.99, 65520], ["BF16", 3.3961e38, 3.3962e38]] as const
  ) {
    it(`finds exactly the numbers that overflow in ${dtype}`, async () => {
      const check = (value: number) =>
        firstNonFinite(backend(), Float32Array.of(0, value), 0, NOTHING_FOUND, { dtype });
      for (const sign of [1, -1]) {
        deepStrictEqual(await check(sign * largest), NOTHING_FOUND);
        deepStrictEqual(await check(sign * overflowing), 1);
      }
      deepStrictEqual(await check(NaN), 1);
    });
  }

  it("does not overwrite a lower index that its slot already contains", async () => {
    const values = Float32Array.of(0, 0, NaN, NaN);
    deepStrictEqual(await firstNonFinite(backend(), values, 0, 1), 1);
    deepStrictEqual(await firstNonFinite(backend(), values, 0, 3), 2);
  });
});

/**
 * One dispatch of check_symmetry on a matrix of order n. It compares the elements in `rows` rows from row0 on
 * and `cols` columns from col0 on with their mirror images. The mirror images are in a tile, which is the
 * part of the matrix that starts at row col0 and column tileCol0.
 */
interface Comparison {
  readonly n: number;
  readonly row0: number;
  readonly rows: number;
  readonly col0: number;
  readonly cols: number;
  readonly tileCol0: number;
  readonly tolerance: number;
}

async function firstAsymmetric(
  backend: Backend,
  matrix: Float32Array<ArrayBuffer>,
  comparison: Comparison,
): Promise<number> {
  const { n, row0, rows, col0, cols, tileCol0, tolerance } = comparison;
  const ldupper = n - tileCol0 + 1;
  const tile = new Float32Array(cols * ldupper).fill(1e9);
  for (let c = 0; c < cols; c++) {
    tile.set(matrix.subarray((col0 + c) * n + tileCol0, (col0 + c + 1) * n), c * ldupper);
  }
  const strip = upload(backend, matrix.slice(row0 * n, (row0 + rows) * n));
  const upper = upload(backend, tile);
  const diagonal = upload(backend, Float32Array.from({ length: n }, (_, i) => matrix[i * n + i]));
  const first = upload(backend, Uint32Array.of(NOTHING_FOUND, NOTHING_FOUND));
  backend.dispatch(checkSymmetry, { strip, upper, diagonal, first }, {
    rows,
    cols,
    row0,
    col0,
    ldstrip: n,
    ldupper,
    tile_col0: tileCol0,
    slot: 1,
    tolerance,
  });
  const [other, found] = await downloadU32(backend, first);
  deepStrictEqual(other, NOTHING_FOUND);
  for (const buffer of [strip, upper, diagonal, first]) buffer.destroy();
  return found;
}

function symmetric(n: number): Float32Array<ArrayBuffer> {
  const matrix = normals(n * n, n);
  for (let i = 0; i < n; i++) {
    matrix[i * n + i] = 4 + i % 5;
    for (let j = 0; j < i; j++) matrix[i * n + j] = matrix[j * n + i];
  }
  return matrix;
}

/**
 * Finds the first defect in row r of the comparison and column j of the matrix, and returns r·n + j. It
 * computes in float64 from the definition.
 */
function referenceFirst(matrix: Float32Array, { n, row0, rows, col0, cols, tolerance }: Comparison): number {
  for (let i = row0; i < row0 + rows; i++) {
    for (let j = col0; j < Math.min(i, col0 + cols); j++) {
      const bound = tolerance * Math.sqrt(matrix[i * n + i] * matrix[j * n + j]);
      if (Math.abs(matrix[i * n + j] - matrix[j * n + i]) > bound) return (i - row0) * n + j;
    }
  }
  return NOTHING_FOUND;
}

const COMPARISONS = [
  { n: 1, row0: 0, rows: 1, col0: 0, cols: 1, tileCol0: 0 },
  { n: 7, row0: 0, rows: 7, col0: 0, cols: 7, tileCol0: 0 },
  { n: 33, row0: 5, rows: 28, col0: 0, cols: 31, tileCol0: 0 },
  { n: 129, row0: 64, rows: 65, col0: 0, cols: 64, tileCol0: 64 },
  { n: 129, row0: 64, rows: 65, col0: 64, cols: 65, tileCol0: 64 },
  { n: 172, row0: 100, rows: 31, col0: 37, cols: 127, tileCol0: 98 },
  { n: 172, row0: 3, rows: 7, col0: 100, cols: 33, tileCol0: 0 },
];

eachBackend("check_symmetry", (backend) => {
  for (const shape of COMPARISONS) {
    const { n, row0, rows, col0, cols } = shape;
    it(`finds the first asymmetry in ${rows} rows from row ${row0} and ${cols} columns from column ${col0} of a matrix of order ${n}`, async () => {
      const comparison = { ...shape, tolerance: 1e-3 };
      const matrix = symmetric(n);
      deepStrictEqual(await firstAsymmetric(backend(), matrix, comparison), NOTHING_FOUND);
      const next = uniform(n);
      for (let k = 0; k < 8; k++) { // some of these defects are outside of the comparison
        const i = Math.floor(next() * n), j = Math.floor(next() * n);
        if (i !== j) matrix[i * n + j] += 1;
        const expected = referenceFirst(matrix, comparison);
        deepStrictEqual(await firstAsymmetric(backend(), matrix, comparison), expected);
      }
    });
  }

  it("accepts a difference just under the tolerance and reports one just over it", async () => {
    const n = 9, tolerance = 2 ** -10;
    for (const [i, j] of [[1, 0], [8, 0], [5, 4], [8, 7], [7, 2]]) {
      const matrix = new Float32Array(n * n);
      for (let d = 0; d < n; d++) matrix[d * n + d] = d % 2 ? 16 : 4;
      const bound = tolerance * Math.sqrt(matrix[i * n + i] * matrix[j * n + j]);
      const comparison = { n, row0: 0, rows: n, col0: 0, cols: n, tileCol0: 0, tolerance };
      matrix[i * n + j] = bound * (1 - 1e-6);
      deepStrictEqual(await firstAsymmetric(backend(), matrix, comparison), NOTHING_FOUND);
      matrix[i * n + j] = -bound * (1 + 1e-6);
      deepStrictEqual(await firstAsymmetric(backend(), matrix, comparison), i * n + j);
    }
  });

  it("compares correctly if the product of two diagonal elements overflows or underflows f32", async () => {
    const comparison = { n: 2, row0: 0, rows: 2, col0: 0, cols: 2, tileCol0: 0, tolerance: 1e-3 };
    for (const d of [1e30, 1e-30]) {
      const matrix = Float32Array.of(d, 1.5e-3 * d, 0, d);
      deepStrictEqual(await firstAsymmetric(backend(), matrix, comparison), 2);
      matrix[1] = 0.5e-3 * d;
      deepStrictEqual(await firstAsymmetric(backend(), matrix, comparison), NOTHING_FOUND);
    }
  });
});
