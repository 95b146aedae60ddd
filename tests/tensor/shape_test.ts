/**
 * Tests the number of elements and bytes for a shape, including scalars, empty tensors, and sizes that are
 * too large.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { elementCount, tensorBytes } from "../../src/tensor/dtype.ts";

describe("elementCount", () => {
  it("multiplies the extents", () => {
    assert.equal(elementCount([]), 1);
    assert.equal(elementCount([7]), 7);
    assert.equal(elementCount([49152, 49152]), 2415919104);
    assert.equal(elementCount([3, 0, 5]), 0);
  });

  it("refuses an extent that is not a non-negative safe integer", () => {
    for (const extent of [-1, 0.5, NaN, Infinity, 2 ** 53]) {
      assert.throws(() => elementCount([2, extent]), RangeError);
    }
  });

  it("refuses a product of 2^53 or more", () => {
    assert.equal(elementCount([2 ** 26, 2 ** 26]), 2 ** 52);
    assert.throws(() => elementCount([2 ** 27, 2 ** 26]), RangeError);
  });
});

describe("tensorBytes", () => {
  it("counts more than 2^32 bytes exactly", () => {
    assert.equal(tensorBytes("F32", [49152, 49152]), 9663676416);
    assert.equal(tensorBytes("BF16", [3, 5]), 30);
    assert.equal(tensorBytes("BOOL", []), 1);
  });

  it("refuses a size of 2^53 bytes or more, even if the number of elements is smaller", () => {
    assert.throws(() => tensorBytes("F64", [2 ** 26, 2 ** 25]), RangeError);
  });
});
