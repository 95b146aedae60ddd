/** Tests the conversion of tensors from and to arrays, and the packed upper triangle of a Hessian. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { floatsFromTensor, hessianUpper, tensorFromFloats } from "../../src/client/mod.ts";
import { asFloat32 } from "../../src/tensor/host_tensor.ts";
import { normals } from "../../scripts/fixtures/random.ts";

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

/** Computes entry (i, j) of Σ x·xᵀ for inputs of `cols` columns. */
function entry(inputs: Float32Array, cols: number, i: number, j: number): number {
  let sum = 0;
  for (let row = 0; row < inputs.length; row += cols) sum += inputs[row + i] * inputs[row + j];
  return sum;
}

describe("hessianUpper()", () => {
  for (const [tokens, cols] of [[1, 1], [3, 2], [7, 5], [64, 33]]) {
    it(`sums the products of ${tokens} tokens with ${cols} columns, and packs the upper triangle row by row`, () => {
      const inputs = normals(tokens * cols, tokens + cols);
      const split = Math.floor(tokens / 2);
      const parts = [inputs.subarray(0, split * cols), inputs.subarray(split * cols)];
      const { dtype, shape, data } = hessianUpper(
        parts.map((part) => tensorFromFloats(part, [part.length / cols, cols])),
      );
      assert.equal(dtype, "F32");
      assert.deepEqual(shape, [cols * (cols + 1) / 2]);
      const packed = asFloat32(data);
      for (let i = 0, at = 0; i < cols; i++) {
        for (let j = i; j < cols; j++, at++) {
          assert.equal(packed[at], Math.fround(entry(inputs, cols, i, j)), `(${i}, ${j})`);
          assert.equal(at, i * cols - i * (i - 1) / 2 + j - i, "the index that the documentation gives");
        }
      }
    });
  }

  it("does not lose small products beside large ones, because it adds them in float64", () => {
    const inputs = new Float32Array(16_385).fill(2 ** -12);
    inputs[0] = 64;
    const [sum] = asFloat32(hessianUpper([tensorFromFloats(inputs, [16_385, 1])]).data);
    // In float32 each of the 16,384 small products, 2^-24, would vanish beside 4096.
    assert.equal(sum, 4096 + 2 ** -10);
  });

  it("refuses parts that do not fit together, and names the sizes", () => {
    const part = (...shape: number[]) =>
      tensorFromFloats(new Float32Array(shape.reduce((a, b) => a * b)), shape);
    assert.throws(() => hessianUpper([part(2, 3), part(2, 4)]), /^RangeError: inputs: .*4 columns.*3$/);
    assert.throws(() => hessianUpper([part(2, 3, 4)]), /^RangeError: inputs: .*\[2, 3, 4\].*\[tokens, in\]/);
    assert.throws(() => hessianUpper([part(0, 3)]), /^RangeError: inputs: must have at least one token/);
    assert.throws(() => hessianUpper([]), /^RangeError: inputs: must have at least one token/);
  });
});
