/** Tests that `transpose` moves every element of a matrix, whatever its size and dtype. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { transpose } from "../../src/tensor/transpose.ts";

describe("transpose()", () => {
  for (const [rows, cols] of [[1, 1], [1, 7], [9, 1], [3, 5], [64, 64], [65, 130], [200, 63]]) {
    it(`swaps the rows and the columns of a (${rows}, ${cols}) matrix of 16-bit and 32-bit elements`, () => {
      const values = Array.from({ length: rows * cols }, (_, i) => i);
      const expected = values.map((i) => (i % rows) * cols + Math.floor(i / rows));
      for (const [dtype, ArrayType] of [["BF16", Uint16Array], ["F32", Uint32Array]] as const) {
        const bytes = new Uint8Array(new ArrayType(values).buffer);
        const { shape, data } = transpose({ dtype, shape: [rows, cols], data: bytes });
        assert.deepEqual(shape, [cols, rows]);
        assert.deepEqual([...new ArrayType(data.buffer)], expected);
      }
    });
  }

  it("accepts bytes that start at an odd address", () => {
    const bytes = Uint8Array.of(0, 1, 0, 2, 0, 3, 0, 4, 0).subarray(1);
    const { data } = transpose({ dtype: "F16", shape: [2, 2], data: bytes });
    assert.deepEqual([...data], [1, 0, 3, 0, 2, 0, 4, 0]);
  });

  it("refuses elements of 8 and of 64 bits", () => {
    for (const dtype of ["U8", "F64"] as const) {
      assert.throws(() => transpose({ dtype, shape: [1, 1], data: new Uint8Array(8) }), {
        name: "RangeError",
        message: `transpose: needs elements of 16 or 32 bits, got dtype ${dtype}`,
      });
    }
  });
});
