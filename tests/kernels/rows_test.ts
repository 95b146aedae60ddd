/** Tests of gather_rows and add_rows, with indices in any order and without indices. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { addRows, gatherRows } from "../../src/kernels/forward/rows.ts";
import { assertClose } from "../support/assert_close.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32, upload } from "../support/device.ts";
import { normals } from "../support/random.ts";

const OFFSET = 3;

/** Sizes of the smaller matrix, and the number of rows of the larger one. */
const SIZES = [
  { rows: 1, cols: 1, all: 1 },
  { rows: 5, cols: 7, all: 9 },
  { rows: 64, cols: 129, all: 200 },
  { rows: 3, cols: 40_001, all: 4 },
  { rows: 700, cols: 3, all: 1000 },
];

/** Returns different row numbers below `all`, in no order, after some numbers that are not used. */
function scattered(rows: number, all: number): Uint32Array<ArrayBuffer> {
  const keys = normals(all, all);
  const order = [...keys.keys()].sort((a, b) => keys[a] - keys[b]).slice(0, rows);
  return Uint32Array.of(...Array(OFFSET).fill(0), ...order);
}

eachBackend("gather_rows", (backend) => {
  for (const { rows, cols, all } of SIZES) {
    it(`copies ${rows} of ${all} rows of ${cols} elements bit for bit`, async () => {
      const values = normals(all * cols, 1), index = scattered(rows, all);
      values[0] = NaN;
      const buffers = {
        x: upload(backend(), values),
        index: upload(backend(), index),
        y: upload(backend(), new Float32Array(rows * cols + 1).fill(77)),
      };
      backend().dispatch(gatherRows, buffers, { rows, cols, offset: OFFSET });
      const expected = [...index.subarray(OFFSET)].flatMap((
        row,
      ) => [...values.subarray(row * cols, (row + 1) * cols)]);
      assert.deepEqual([...await downloadF32(backend(), buffers.y)], [...expected, 77]);
      for (const buffer of Object.values(buffers)) buffer.destroy();
    });
  }
});

eachBackend("add_rows", (backend) => {
  for (const { rows, cols, all } of SIZES) {
    for (const hasIndex of [true, false]) {
      const what = hasIndex ? "rows with an index and a factor each" : "rows in order";
      it(`adds ${rows} ${what} to ${all} rows of ${cols} elements, and changes no other row`, async () => {
        const added = normals(rows * cols, 1),
          values = normals(all * cols, 2),
          factors = normals(OFFSET + rows, 3);
        const index = scattered(rows, all), scale = -1.75;
        const buffers = {
          x: upload(backend(), added),
          index: upload(backend(), index),
          factors: upload(backend(), factors),
          y: upload(backend(), values),
        };
        backend().dispatch(addRows, buffers, {
          rows,
          cols,
          offset: OFFSET,
          has_index: hasIndex ? 1 : 0,
          scale,
        });
        const expected = Float64Array.from(values);
        for (let r = 0; r < rows; r++) {
          const row = hasIndex ? index[OFFSET + r] : r,
            factor = hasIndex ? scale * factors[OFFSET + r] : scale;
          for (let c = 0; c < cols; c++) expected[row * cols + c] += factor * added[r * cols + c];
        }
        assertClose(await downloadF32(backend(), buffers.y), expected, 2e-7);
        for (const buffer of Object.values(buffers)) buffer.destroy();
      });
    }
  }
});
