/** Tests the conversion between arrays of numbers and tensors. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { floatsFromTensor, tensorFromFloats } from "../../../src/client/mod.ts";

describe("tensorFromFloats()", () => {
  it("stores F32 numbers little-endian, and copies them", () => {
    const values = new Float32Array([1, -2]);
    const tensor = tensorFromFloats(values, [2, 1]);
    values[0] = 7;
    assert.deepEqual({ ...tensor, data: [...tensor.data] }, {
      dtype: "F32",
      shape: [2, 1],
      data: [0, 0, 0x80, 0x3f, 0, 0, 0, 0xc0],
    });
  });

  for (
    const [dtype, bytes] of [["F16", [0x00, 0x3c, 0x00, 0x00]], ["BF16", [0x80, 0x3f, 0x00, 0x00]]] as const
  ) {
    it(`rounds to ${dtype}, ties to even`, () => {
      // Half a unit in the last place above 1 is a tie, and 1 has the even last bit.
      const halfUnit = dtype === "F16" ? 2 ** -11 : 2 ** -8;
      assert.deepEqual([...tensorFromFloats(new Float32Array([1 + halfUnit, 0]), [2], dtype).data], [
        ...bytes,
      ]);
    });
  }

  it("refuses a shape with another number of elements", () => {
    assert.throws(() => tensorFromFloats(new Float32Array(5), [2, 3]), {
      name: "RangeError",
      message: "shape [2, 3]: has 6 elements, but 5 were given",
    });
  });
});

describe("floatsFromTensor()", () => {
  for (const dtype of ["F32", "F16", "BF16"] as const) {
    it(`returns the numbers of a tensor in ${dtype}, even if its bytes are not aligned`, () => {
      const { data, ...tensor } = tensorFromFloats(new Float32Array([0.5, -3, 0]), [3], dtype);
      const shifted = new Uint8Array(data.length + 1);
      shifted.set(data, 1);
      assert.deepEqual([...floatsFromTensor({ ...tensor, data: shifted.subarray(1) })], [0.5, -3, 0]);
    });
  }

  it("refuses a tensor of integers", () => {
    assert.throws(() => floatsFromTensor({ dtype: "U8", shape: [1], data: new Uint8Array(1) }), {
      name: "TypeError",
      message: "dtype U8: must be F32, F16 or BF16",
    });
  });
});
