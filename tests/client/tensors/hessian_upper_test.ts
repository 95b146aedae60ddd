/** Compares `hessianUpper` with the definition of the packed Hessian, in float64. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { hessianUpper, tensorFromFloats } from "../../../src/client/mod.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";
import { normals } from "../../support/random.ts";

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
