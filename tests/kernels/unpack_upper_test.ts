/**
 * Tests that unpack_upper copies strips (some rows) of a packed upper triangle into tiles (parts of the full
 * matrix). The tiles lie to the left of the diagonal, on it and to the right of it.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { unpackUpper } from "../../src/kernels/transfer/unpack_upper.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadU32, upload } from "../support/device.ts";

const CASES = [
  { n: 1, rows: 1, cols: 1, first_row: 0, first_col: 0 },
  { n: 7, rows: 7, cols: 7, first_row: 0, first_col: 0 },
  { n: 33, rows: 5, cols: 31, first_row: 3, first_col: 0 },
  { n: 129, rows: 31, cols: 33, first_row: 64, first_col: 64 },
  { n: 172, rows: 7, cols: 127, first_row: 0, first_col: 45 },
  { n: 172, rows: 40, cols: 20, first_row: 100, first_col: 110 },
  { n: 172, rows: 3, cols: 20, first_row: 100, first_col: 10 },
  { n: 1000, rows: 1000, cols: 172, first_row: 0, first_col: 828 },
];

/** A number that identifies element (i, j). */
const element = (i: number, j: number) => 0x80000000 + i * 65536 + j;

eachBackend("unpack_upper", (backend) => {
  for (const shape of CASES) {
    const { n, rows, cols, first_row, first_col } = shape;
    it(`unpacks ${rows} rows from row ${first_row} and ${cols} columns from column ${first_col} of a matrix of order ${n}`, async () => {
      const strip: number[] = [];
      for (let i = first_row; i < first_row + rows; i++) {
        for (let j = i; j < n; j++) strip.push(element(i, j));
      }
      const ld = cols + 3, target_offset = 5;
      const expected = new Uint32Array(target_offset + rows * ld).fill(9);
      const source = upload(backend(), Uint32Array.from(strip)), target = upload(backend(), expected);
      backend().dispatch(unpackUpper, { source, target }, { ...shape, target_offset, ld });
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++) {
          const i = first_row + r, j = first_col + c;
          if (j >= i) expected[target_offset + r * ld + c] = element(i, j);
        }
      }
      deepStrictEqual(await downloadU32(backend(), target), expected);
      source.destroy();
      target.destroy();
    });
  }

  it("unpacks the last rows of a matrix of more than 2³² elements", async () => {
    const n = 70000, rows = 5, first_row = n - rows;
    const strip = Uint32Array.from({ length: rows * (rows + 1) / 2 }, (_, i) => i + 1);
    const target = upload(backend(), new Uint32Array(rows * 4)), source = upload(backend(), strip);
    const params = { n, rows, cols: 4, first_row, first_col: n - 4, target_offset: 0, ld: 4 };
    backend().dispatch(unpackUpper, { source, target }, params);
    const expected = Uint32Array.of(2, 3, 4, 5, 6, 7, 8, 9, 0, 10, 11, 12, 0, 0, 13, 14, 0, 0, 0, 15);
    deepStrictEqual(await downloadU32(backend(), target), expected);
    source.destroy();
    target.destroy();
  });
});
