/**
 * Tests that zero_columns sets dead columns to 0, even if they contain infinity, and writes nothing else. A
 * column is dead if the input that it multiplies was always 0.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { zeroColumns } from "../../src/kernels/zero_columns.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const SHAPES = [[1, 1], [7, 31], [33, 127], [129, 172], [2, 4097], [5000, 2]];
/** For each case, a function that returns whether a column of the matrix is dead. */
const DEAD: Readonly<Record<string, (column: number) => boolean>> = {
  "no column is dead": () => false,
  "every column is dead": () => true,
  "some columns are dead": (column) => column % 3 === 1,
};

eachBackend("zero_columns", (backend) => {
  for (const [name, isDead] of Object.entries(DEAD)) {
    it(`zeroes exactly the dead columns if ${name}`, async () => {
      for (const [rows, cols] of SHAPES) {
        const ld = cols + 3, first = 5;
        const weights = normals(rows * ld, rows);
        weights[0] = Infinity;
        const dead = Uint32Array.from({ length: first + cols }, (_, c) => isDead(c) ? 1 + c : 0);
        const buffers = { dead: upload(backend(), dead), w: upload(backend(), weights) };
        backend().dispatch(zeroColumns, buffers, { rows, cols, ld, first });
        const expected = weights.map((value, i) => i % ld < cols && isDead(first + i % ld) ? 0 : value);
        deepStrictEqual(await downloadF32(backend(), buffers.w), expected, `${rows}×${cols}`);
        buffers.dead.destroy();
        buffers.w.destroy();
      }
    });
  }
});
