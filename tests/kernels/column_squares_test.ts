/** Tests the kernel column_squares for odd sizes and strides, and for columns of zeros. */

import { deepStrictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { columnSquares } from "../../src/kernels/column_squares.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const SHAPES = [[1, 1], [7, 31], [33, 15], [64, 16], [129, 172], [4097, 2], [5000, 49], [0, 5]];

eachBackend("column_squares", (backend) => {
  for (const [rows, cols] of SHAPES) {
    it(`adds the squares of ${rows} rows to the sums of ${cols} columns, and writes nothing else`, async () => {
      const x_offset = 3, ldx = cols + 2;
      const x = normals(x_offset + rows * ldx, cols);
      const before = Float32Array.from({ length: cols + 3 }, (_, i) => i % 8);
      const buffers = { x: upload(backend(), x), sums: upload(backend(), before) };
      backend().dispatch(columnSquares, buffers, { rows, cols, x_offset, ldx });
      const expected = Float64Array.from(before);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++) expected[c] += x[x_offset + r * ldx + c] ** 2;
      }
      const sums = await downloadF32(backend(), buffers.sums);
      assertClose(sums, expected, 1e-6);
      deepStrictEqual(sums.slice(cols), before.slice(cols));
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }

  it("gives exactly 0 for a column of zeros", async () => {
    const rows = 100, cols = 18;
    const x = normals(rows * cols, 3).map((value, i) => i % cols === 17 || i % cols === 4 ? 0 : value);
    const buffers = { x: upload(backend(), x), sums: upload(backend(), new Float32Array(cols)) };
    backend().dispatch(columnSquares, buffers, { rows, cols, x_offset: 0, ldx: cols });
    const sums = await downloadF32(backend(), buffers.sums);
    deepStrictEqual([...sums.keys()].filter((c) => sums[c] === 0), [4, 17]);
    for (const buffer of Object.values(buffers)) buffer.destroy();
  });
});
