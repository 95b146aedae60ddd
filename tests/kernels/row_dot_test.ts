/**
 * Tests of row_dot for odd sizes and strides, for the same matrix as both operands, and for more rows than a
 * grid can have workgroups along one axis.
 */

import { it } from "@std/testing/bdd";
import { rowDot } from "../../src/kernels/row_dot.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const SHAPES = [[1, 1], [7, 31], [33, 15], [129, 172], [2, 4097], [65_537, 3]];

eachBackend("row_dot", (backend) => {
  for (const [rows, cols] of SHAPES) {
    it(`adds the dot products of ${rows} rows of ${cols} elements to the sums`, async () => {
      const params = {
        rows,
        cols,
        x_offset: 3,
        ldx: cols + 1,
        y_offset: 5,
        ldy: cols + 2,
        sums_offset: 1,
        sums_stride: 2,
        scale: -0.25,
      };
      const x = normals(3 + rows * params.ldx, rows), y = normals(5 + rows * params.ldy, cols);
      const before = Float32Array.from({ length: 2 * rows + 2 }, (_, i) => i % 8);
      const buffers = {
        x: upload(backend(), x),
        y: upload(backend(), y),
        sums: upload(backend(), before),
      };
      backend().dispatch(rowDot, buffers, params);
      const expected = Float64Array.from(before);
      for (let r = 0; r < rows; r++) {
        for (let c = 0; c < cols; c++) {
          expected[1 + 2 * r] += -0.25 * x[3 + r * params.ldx + c] * y[5 + r * params.ldy + c];
        }
      }
      assertClose(await downloadF32(backend(), buffers.sums), expected, 1e-6);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }

  it("computes squared norms if both operands are the same buffer", async () => {
    const rows = 9, cols = 1000, x = normals(rows * cols, 2);
    const buffer = upload(backend(), x), sums = upload(backend(), new Float32Array(rows));
    const params = {
      rows,
      cols,
      x_offset: 0,
      ldx: cols,
      y_offset: 0,
      ldy: cols,
      sums_offset: 0,
      sums_stride: 1,
      scale: 1,
    };
    backend().dispatch(rowDot, { x: buffer, y: buffer, sums }, params);
    const expected = Array.from({ length: rows }, (_, r) => {
      return x.subarray(r * cols, (r + 1) * cols).reduce((sum, value) => sum + value * value, 0);
    });
    assertClose(await downloadF32(backend(), sums), expected, 1e-6);
    buffer.destroy();
    sums.destroy();
  });
});
