/**
 * Tests the quadratic form tr(M·H·Mᵀ) on every backend. It is computed from H and from the factor of H, and
 * compared with float64.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { PanelProduct } from "../../../src/layer/linalg/gemm.ts";
import {
  addFactoredForm,
  addInnerProduct,
  addQuadraticForm,
  mirrorDiagonalTiles,
  RowSums,
} from "../../../src/layer/linalg/quadratic_form.ts";
import { quadraticForm } from "../../reference/hessian.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer, uploadHessian, uploadLayer } from "../../support/layers.ts";

const SIZES: [rows: number, cols: number, blocksize: number, edge: number][] = [
  [1, 1, 128, 4096],
  [7, 5, 32, 64],
  [65, 64, 32, 64],
  [127, 129, 64, 64],
  [90, 300, 64, 256],
  [33, 700, 128, 4096],
];

eachBackend("tr(M·H·Mᵀ)", (backend) => {
  for (const [rows, cols, blocksize, edge] of SIZES) {
    it(`is computed from H and from its factor for a ${rows}×${cols} matrix M in tiles of ${edge}`, async () => {
      const live = backend().counters.bytesLive;
      const host = makeLayer(rows, cols, { seed: rows });
      const layer = uploadLayer(backend(), host, edge);
      const hessian = uploadHessian(backend(), host.hessian, cols, edge);
      const sums = new RowSums(backend(), rows, 3);

      mirrorDiagonalTiles(backend(), hessian);
      addQuadraticForm(backend(), layer.weight, hessian, sums, 0);
      const factored = await factor(backend(), hessian, { damping: 0.01, blocksize });
      const product = new PanelProduct(backend(), layer.weight, factored.r, blocksize);
      addFactoredForm(product, sums, 1);
      addInnerProduct(layer.weight, layer.weight, sums, 2);

      const [direct, throughFactor, squared] = await sums.totals();
      const norm = host.weight.reduce((sum, value) => sum + value * value, 0);
      const expected = quadraticForm(host.weight, host.hessian, rows, cols);
      assertClose([squared], [norm], 1e-6);
      assertClose([direct], [expected], 1e-5);
      assertClose([throughFactor], [expected + factored.dampingAdded * norm], 1e-5);

      for (const resource of [sums, product, factored, layer]) resource.destroy();
      assert.equal(backend().counters.bytesLive, live);
    });
  }

  it("does not depend on the elements of H below the diagonal", async () => {
    const rows = 20, cols = 100, host = makeLayer(rows, cols, { seed: 9 });
    const upper = host.hessian.slice();
    for (let i = 0; i < cols; i++) upper.fill(NaN, i * cols, i * cols + i);
    const layer = uploadLayer(backend(), host, 64), hessian = uploadHessian(backend(), upper, cols, 64);
    const sums = new RowSums(backend(), rows, 2);
    mirrorDiagonalTiles(backend(), hessian);
    addQuadraticForm(backend(), layer.weight, hessian, sums, 0);
    const expected = quadraticForm(host.weight, host.hessian, rows, cols);
    assertClose([(await sums.totals())[0]], [expected], 1e-5);
    for (const resource of [sums, layer, hessian]) resource.destroy();
  });
});
