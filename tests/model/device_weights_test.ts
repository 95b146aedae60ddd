/** Tests the upload of checkpoint tensors to a device, where they become f32, and the check of their shapes and dtypes. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import {
  checkTensor,
  type TensorSource,
  withReplacements,
} from "../../src/model/checkpoint/tensor_source.ts";
import { uploadElements } from "../../src/model/device_weights.ts";
import { bytesToFloats, floatsToBytes } from "../../src/tensor/dtype.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { assertSame } from "../support/assert_same.ts";
import { eachBackend } from "../support/backends.ts";
import { downloadF32 } from "../support/device.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/** Returns a source that has only the tensor `x`. */
function sourceOf(x: HostTensor): TensorSource {
  const missing = () => {
    throw new RangeError("no such tensor");
  };
  return withReplacements({ has: () => false, info: missing, read: missing }, new Map([["x", x]]));
}

eachBackend("uploadElements", (backend) => {
  for (const dtype of ["F32", "F16", "BF16"] as const) {
    it(`uploads ${dtype} elements as f32, also odd counts at odd offsets`, async () => {
      const data = floatsToBytes(normals(15, 3), dtype);
      const source = sourceOf({ dtype, shape: [3, 5], data });
      for (const [first, count] of [[0, 15], [5, 5], [5, 10], [14, 1]]) {
        const buffer = await uploadElements(backend(), source, "x", dtype, first, count);
        const actual = (await downloadF32(backend(), buffer)).subarray(0, count);
        assertSame(actual, bytesToFloats(data, dtype).subarray(first, first + count));
        buffer.destroy();
      }
    });
  }

  it("frees the array that it has read", async () => {
    for (const dtype of ["F32", "F16"] as const) {
      const read = floatsToBytes(normals(4, 3), dtype);
      const source = { ...sourceOf({ dtype, shape: [4], data: read }), read: () => Promise.resolve(read) };
      (await uploadElements(backend(), source, "x", dtype, 0, 4)).destroy();
      assert.equal(read.byteLength, 0);
    }
  });

  it("leaves only the returned buffer on the device", async () => {
    const live = backend().counters.bytesLive;
    const source = sourceOf({ dtype: "F16", shape: [8], data: new Uint8Array(16) });
    (await uploadElements(backend(), source, "x", "F16", 0, 8)).destroy();
    await backend().finish();
    assert.equal(backend().counters.bytesLive, live);
  });
});

it("checkTensor() refuses a tensor with an unexpected shape or dtype", () => {
  const source = sourceOf({ dtype: "F16", shape: [2, 4], data: new Uint8Array(16) });
  assert.equal(checkTensor(source, "x", [2, 4]), "F16");
  assert.throws(() => checkTensor(source, "x", [4, 2]), /has shape \[2,4\], config.json says \[4,2\]/);
  const bytes = sourceOf({ dtype: "U8", shape: [2, 4], data: new Uint8Array(8) });
  assert.throws(() => checkTensor(bytes, "x", [2, 4]), /has dtype U8, needs F32, F16 or BF16/);
});
