/** Tests that rows and columns are taken and put back with the same bits. */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { placeColumns, takeColumns, takeRows } from "../../src/tensor/columns.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";

/** A matrix of `width` bytes per element, in which every byte is another number. */
function matrix(dtype: HostTensor["dtype"], width: number): HostTensor {
  return { dtype, shape: [2, 3], data: Uint8Array.from({ length: 6 * width }, (_, i) => i + 1) };
}

it("takeColumns() and placeColumns() keep the bytes of the elements, and put zeros in the other columns", () => {
  const taken = takeColumns(matrix("BF16", 2), [0, 2]);
  assert.deepEqual(taken, { dtype: "BF16", shape: [2, 2], data: Uint8Array.of(1, 2, 5, 6, 7, 8, 11, 12) });
  const placed = placeColumns(taken, [0, 2], 3);
  assert.deepEqual(placed, {
    dtype: "BF16",
    shape: [2, 3],
    data: Uint8Array.of(1, 2, 0, 0, 5, 6, 7, 8, 0, 0, 11, 12),
  });
});

it("takeRows() takes rows of matrices and elements of vectors", () => {
  const taken = takeRows(matrix("F32", 4), [1]);
  assert.deepEqual(taken.shape, [1, 3]);
  assert.deepEqual(taken.data, Uint8Array.from({ length: 12 }, (_, i) => i + 13));
  const vector: HostTensor = { dtype: "F16", shape: [3], data: Uint8Array.of(1, 2, 3, 4, 5, 6) };
  assert.deepEqual(takeRows(vector, [0, 2]), { dtype: "F16", shape: [2], data: Uint8Array.of(1, 2, 5, 6) });
});
