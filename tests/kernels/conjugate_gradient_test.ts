/** Tests of the two updates of a conjugate-gradient step on a tile in the middle of a matrix, with rows whose denominators are 0. */

import { it } from "@std/testing/bdd";
import { cgDirection, cgStep } from "../../src/kernels/conjugate_gradient.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals, uniform } from "../support/random.ts";

/** Sizes of a tile: rows, columns, first row in the matrix and first column in the matrix. */
const TILES = [[1, 1, 0, 0], [7, 31, 2, 5], [33, 127, 0, 30], [2, 4097, 1, 29], [5000, 2, 0, 63]];
const STRIDE = 5, NUMERATOR = 3, DENOMINATOR = 1;

/** Sums whose ratio is about 1. Every third row has the denominator 0. */
function makeSums(rows: number): Float32Array<ArrayBuffer> {
  return normals(rows * STRIDE, 9).map((value, i) =>
    i % STRIDE === DENOMINATOR ? (Math.floor(i / STRIDE) % 3 === 2 ? 0 : 1 + Math.abs(value)) : value
  );
}

function ratioOf(sums: Float32Array, row: number): number {
  const denominator = sums[row * STRIDE + DENOMINATOR];
  return denominator > 0 ? sums[row * STRIDE + NUMERATOR] / denominator : 0;
}

eachBackend("cg_step", (backend) => {
  for (const [rows, cols, row0, first] of TILES) {
    it(`updates the iterate, and the residual at kept entries, in a tile of ${rows}×${cols} from (${row0}, ${first})`, async () => {
      const ld = cols + 1, words = Math.ceil((first + cols) / 32), next = uniform(rows);
      const mask = Uint32Array.from({ length: (row0 + rows) * words }, () => next() * 2 ** 32);
      const [p, ap, q, r] = [1, 2, 3, 4].map((seed) => normals(rows * ld, seed));
      const sums = makeSums(row0 + rows);
      const buffers = {
        p: upload(backend(), p),
        ap: upload(backend(), ap),
        mask: upload(backend(), mask),
        sums: upload(backend(), sums),
        q: upload(backend(), q),
        r: upload(backend(), r),
      };
      const columns = { stride: STRIDE, numerator: NUMERATOR, denominator: DENOMINATOR };
      backend().dispatch(cgStep, buffers, { rows, cols, ld, row0, first, words, ...columns });
      const expectedQ = Float64Array.from(q), expectedR = Float64Array.from(r);
      for (let i = 0; i < rows; i++) {
        const a = ratioOf(sums, row0 + i);
        for (let c = 0; c < cols; c++) {
          const at = i * ld + c, column = first + c;
          const kept = (mask[(row0 + i) * words + (column >> 5)] >>> (column & 31)) & 1;
          expectedQ[at] += a * p[at];
          expectedR[at] = kept ? r[at] - a * ap[at] : 0;
        }
      }
      assertClose(await downloadF32(backend(), buffers.q), expectedQ, 1e-6);
      assertClose(await downloadF32(backend(), buffers.r), expectedR, 1e-6);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }
});

eachBackend("cg_direction", (backend) => {
  it("adds the old direction, scaled by the ratio of two sums of its row, to the residual", async () => {
    for (const [rows, cols, row0] of TILES) {
      const ld = cols + 1, p = normals(rows * ld, 1), r = normals(rows * ld, 2), sums = makeSums(row0 + rows);
      const buffers = { r: upload(backend(), r), sums: upload(backend(), sums), p: upload(backend(), p) };
      const columns = { stride: STRIDE, numerator: NUMERATOR, denominator: DENOMINATOR };
      backend().dispatch(cgDirection, buffers, { rows, cols, ld, row0, ...columns });
      const expected = Float64Array.from(p, (value, i) => {
        return i % ld < cols ? r[i] + ratioOf(sums, row0 + Math.floor(i / ld)) * value : value;
      });
      assertClose(await downloadF32(backend(), buffers.p), expected, 1e-6);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    }
  });
});
