/**
 * Tests products with a symmetric matrix, and solves with its factor, in comparison with float64. The
 * matrices have one or several tiles.
 */

import { ok } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { readMatrix, TiledMatrix, tileEdgeFor, writeMatrix } from "../../../src/device/tiled_matrix.ts";
import { factor } from "../../../src/layer/linalg/factor.ts";
import { mirrorDiagonalTiles } from "../../../src/layer/linalg/quadratic_form.ts";
import { solveFactored } from "../../../src/layer/linalg/solve_factored.ts";
import { symmetricProduct } from "../../../src/layer/linalg/gemm.ts";
import { correlatedHessian } from "../../reference/hessian.ts";
import { product } from "../../reference/target_step.ts";
import { assertClose } from "../../support/assert_close.ts";
import { eachBackend } from "../../support/backends.ts";
import { uploadHessian } from "../../support/layers.ts";
import { normals } from "../../../scripts/fixtures/random.ts";

const CASES = [
  { rows: 1, n: 1, blocksize: 128 },
  { rows: 7, n: 5, blocksize: 4 },
  { rows: 129, n: 172, blocksize: 64, edge: 64 },
  { rows: 70, n: 203, blocksize: 16, edge: 48 },
  { rows: 33, n: 700, blocksize: 128 },
];

eachBackend("products with a symmetric matrix", (backend) => {
  for (const { rows, n, blocksize, edge = tileEdgeFor(blocksize) } of CASES) {
    const shape = `${rows}×${n} in tiles of ${edge}`;

    it(`symmetricProduct() computes M·A for M of ${shape}`, async () => {
      const a = correlatedHessian(n, { seed: n, tokens: 2 * n }), values = normals(rows * n, rows);
      const matrix = uploadHessian(backend(), a, n, edge);
      const m = new TiledMatrix(backend(), { label: "m", rows, cols: n, edge });
      const c = new TiledMatrix(backend(), { label: "c", rows, cols: n, edge });
      writeMatrix(backend(), m, values);
      mirrorDiagonalTiles(backend(), matrix);
      symmetricProduct(backend(), m, matrix, c);
      assertClose(await readMatrix(backend(), c), product(values, a, rows, n), 1e-5);
      for (const resource of [matrix, m, c]) resource.destroy();
    });

    it(`solveFactored() solves X·(H + λ·mean(diag H)·I) = B for X, with B of ${shape}`, async () => {
      const h = correlatedHessian(n, { seed: n, tokens: 2 * n }), values = normals(rows * n, rows);
      const live = backend().counters.bytesLive;
      const factored = await factor(backend(), uploadHessian(backend(), h, n, edge), {
        damping: 0.01,
        blocksize,
      });
      const b = new TiledMatrix(backend(), { label: "b", rows, cols: n, edge });
      writeMatrix(backend(), b, values);
      solveFactored(backend(), b, factored);
      const x = await readMatrix(backend(), b);
      const damped = Float64Array.from(
        h,
        (value, i) => i % (n + 1) === 0 ? value + factored.dampingAdded : value,
      );
      // The tolerance is relative to the magnitudes of the terms whose difference is the residual.
      const terms = product(x.map(Math.abs), damped.map(Math.abs), rows, n);
      product(x, damped, rows, n).forEach((value, i) => {
        ok(
          Math.abs(value - values[i]) <= 2e-5 * terms[i],
          `${shape}: element ${i}: ${value}, not ${values[i]}`,
        );
      });
      for (const resource of [factored, b]) resource.destroy();
      ok(backend().counters.bytesLive === live, "bytes left allocated");
    });
  }
});
