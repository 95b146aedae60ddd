/**
 * Tests that get_diagonal, set_diagonal and mirror_upper copy elements bit for bit, and write nothing else.
 */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { getDiagonal, mirrorUpper, setDiagonal } from "../../src/kernels/diagonal.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const SIZES = [1, 3, 4, 7, 15, 16, 17, 31, 33, 64, 127, 129, 172, 515];
const FIRST = 3;

eachBackend("the diagonal kernels", (backend) => {
  for (const size of SIZES) {
    it(`get_diagonal reads ${size} elements from the diagonal of a submatrix`, async () => {
      const ld = size + 6, row = 2, col = 5;
      const tile = normals((size + row) * ld, size), before = normals(size + FIRST + 1, 1);
      const buffers = { tile: upload(backend(), tile), diagonal: upload(backend(), before) };
      backend().dispatch(getDiagonal, buffers, { count: size, row, col, ld, first: FIRST });
      const expected = before.slice();
      for (let i = 0; i < size; i++) expected[FIRST + i] = tile[(row + i) * ld + col + i];
      deepStrictEqual(await downloadF32(backend(), buffers.diagonal), expected);
      buffers.tile.destroy();
      buffers.diagonal.destroy();
    });

    it(`set_diagonal overwrites ${size} diagonal elements`, async () => {
      const ld = size + 2, before = normals(size * ld, size), diagonal = normals(size + FIRST, 1);
      const buffers = { tile: upload(backend(), before), diagonal: upload(backend(), diagonal) };
      backend().dispatch(setDiagonal, buffers, { count: size, ld, first: FIRST });
      const expected = before.slice();
      for (let i = 0; i < size; i++) expected[i * ld + i] = diagonal[FIRST + i];
      deepStrictEqual(await downloadF32(backend(), buffers.tile), expected);
      buffers.tile.destroy();
      buffers.diagonal.destroy();
    });

    it(`mirror_upper fills the lower triangle of a ${size}×${size} matrix`, async () => {
      const ld = size + 3, before = normals(size * ld, size);
      const tile = upload(backend(), before);
      backend().dispatch(mirrorUpper, { tile }, { size, ld });
      const expected = before.map((value, at) => {
        const i = Math.floor(at / ld), j = at % ld;
        return j < i ? before[j * ld + i] : value;
      });
      deepStrictEqual(await downloadF32(backend(), tile), expected);
      tile.destroy();
    });
  }
});
