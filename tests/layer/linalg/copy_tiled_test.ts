/** Tests copyTiled(), which copies the upper triangle of a tiled matrix to tiles of another size. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { readMatrix } from "../../../src/device/tiled_matrix.ts";
import { copyTiled } from "../../../src/layer/linalg/tile_arithmetic.ts";
import { correlatedHessian } from "../../reference/hessian.ts";
import { eachBackend } from "../../support/backends.ts";
import { uploadHessian } from "../../support/layers.ts";

eachBackend("copyTiled", (backend) => {
  for (
    const [order, from, to] of [[1, 4, 8], [40, 16, 16], [40, 16, 12], [41, 12, 16], [30, 64, 7], [30, 7, 64]]
  ) {
    it(`copies a matrix of order ${order} from tiles of ${from}×${from} to tiles of ${to}×${to}`, async () => {
      const matrix = correlatedHessian(order, { seed: order });
      const source = uploadHessian(backend(), matrix, order, from);
      const target = copyTiled(backend(), source, to);
      assert.equal(target.edge, to);
      const copied = await readMatrix(backend(), target);
      for (let i = 0; i < order; i++) {
        for (let j = i; j < order; j++) assert.equal(copied[i * order + j], matrix[i * order + j]);
      }
      source.destroy();
      target.destroy();
    });
  }
});
