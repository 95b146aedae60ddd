/** Compares the sums of SquaredNorms on every backend with the diagonal of Σ x·xᵀ, which is computed in float64. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { HessianAccumulator } from "../../../src/layer/calibration/hessian.ts";
import { SquaredNorms } from "../../../src/layer/calibration/squared_norms.ts";
import { asFloat32 } from "../../../src/tensor/host_tensor.ts";
import { gram } from "../../reference/hessian.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { upload } from "../../support/device.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

eachBackend("SquaredNorms", (backend) => {
  for (const size of [1, 7, 33, 96]) {
    it(`sums the squares of ${size} features over several batches`, async () => {
      const rows = [5, 1, 64], total = 70, x = normals(total * size, size);
      const norms = new SquaredNorms(backend(), "squared norms", size);
      const hessian = new HessianAccumulator(backend(), "hessian", size);
      let row = 0;
      for (const count of rows) {
        const buffer = upload(backend(), x.slice(row * size, (row + count) * size));
        norms.add(buffer, count);
        hessian.add(buffer, count);
        buffer.destroy();
        row += count;
      }
      const h = gram(Float64Array.from(x), total, size);
      const computed = await norms.read();
      assertClose(computed, Float64Array.from({ length: size }, (_, j) => h[j * size + j]), 1e-6);
      const packed = asFloat32((await hessian.packedUpper()).data);
      const diagonal = Float64Array.from(
        { length: size },
        (_, j) => packed[j * size - (j * (j - 1)) / 2],
      );
      assertClose(computed, diagonal, 1e-6);
      norms.destroy();
      hessian.destroy();
    });
  }

  it("is 0 before the first batch is added", async () => {
    const norms = new SquaredNorms(backend(), "squared norms", 5);
    assert.deepEqual(await norms.read(), new Float32Array(5));
    norms.destroy();
  });
});
