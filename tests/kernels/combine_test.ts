/**
 * Tests of masked_combine and scale_tile on a tile in the middle of a matrix, for odd sizes and for tiles
 * that share mask words with their neighbours.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { maskedCombine, scaleTile } from "../../src/kernels/combine.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals, uniform } from "../support/random.ts";

/** Sizes of a tile: rows, columns, first row in the matrix and first column in the matrix. */
const TILES = [[1, 1, 0, 0], [7, 31, 2, 5], [33, 127, 0, 30], [5, 172, 3, 64], [2, 4097, 1, 29], [
  5000,
  2,
  0,
  63,
]];
const UNTOUCHED = -7;

eachBackend("masked_combine", (backend) => {
  for (const [rows, cols, row0, first] of TILES) {
    it(`uses different factors for kept and pruned entries in a tile of ${rows}×${cols} from (${row0}, ${first})`, async () => {
      const ld = cols + 3, words = Math.ceil((first + cols) / 32) + 1, next = uniform(rows);
      const mask = Uint32Array.from({ length: (row0 + rows) * words }, () => next() * 2 ** 32);
      const x = normals(rows * ld, cols), y = normals(rows * ld, rows + 1);
      const buffers = { x: upload(backend(), x), mask: upload(backend(), mask), y: upload(backend(), y) };
      const factors = { kept_x: 0.5, kept_y: -2, pruned_x: 3, pruned_y: 0.25 };
      backend().dispatch(maskedCombine, buffers, { rows, cols, ld, row0, first, words, ...factors });
      const expected = Float64Array.from(y, (value, i) => {
        const r = Math.floor(i / ld), c = i % ld, column = first + c;
        if (c >= cols) return value;
        const kept = (mask[(row0 + r) * words + (column >> 5)] >>> (column & 31)) & 1;
        return kept ? 0.5 * x[i] - 2 * value : 3 * x[i] + 0.25 * value;
      });
      assertClose(await downloadF32(backend(), buffers.y), expected, 1e-6);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }
});

eachBackend("scale_tile", (backend) => {
  for (const hasLeft of [0, 1]) {
    it(`multiplies each element by the factor of its column${hasLeft ? " and of its row" : ""}`, async () => {
      for (const [rows, cols, row0, first] of TILES) {
        const ld = cols + 3;
        const left = normals(row0 + rows, 1), right = normals(first + cols, 2), x = normals(rows * ld, 3);
        for (let r = 0; r < rows; r++) x.fill(UNTOUCHED, r * ld + cols, (r + 1) * ld);
        const buffers = {
          left: upload(backend(), left),
          right: upload(backend(), right),
          x: upload(backend(), x),
        };
        backend().dispatch(scaleTile, buffers, { rows, cols, ld, row0, first, has_left: hasLeft });
        const scaled = await downloadF32(backend(), buffers.x);
        const expected = Float64Array.from(x, (value, i) => {
          const r = Math.floor(i / ld), c = i % ld;
          return c < cols ? value * right[first + c] * (hasLeft ? left[row0 + r] : 1) : UNTOUCHED;
        });
        assertClose(scaled, expected, 1e-6);
        deepStrictEqual(scaled[cols], UNTOUCHED);
        for (const buffer of Object.values(buffers)) buffer.destroy();
      }
    });
  }
});
