/** Tests the synthetic wide layers of the solvers bench, and runs the bench on a small layer. */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { benchWide } from "../../../scripts/bench/solvers/wide/bench_wide.ts";
import { kernelTable, wideTable } from "../../../scripts/bench/solvers/wide/tables.ts";
import { makeWideLayer } from "../../../scripts/bench/solvers/wide/wide_layer.ts";
import type { Backend } from "../../../src/backend/backend.ts";
import { readMatrix } from "../../../src/backend/tiled_matrix.ts";
import { createCpuBackend } from "../../../src/cpu/backend.ts";

const N = 64;

describe("the wide layers of the solvers bench", () => {
  let backend: Backend;
  before(async () => {
    backend = await createCpuBackend();
  });
  after(() => backend.dispose());

  async function statistics(seed: number): Promise<Float32Array> {
    const { weight, hessian } = await makeWideLayer(backend, N, seed);
    const values = await readMatrix(backend, hessian);
    for (const matrix of [weight, hessian]) matrix.destroy();
    return values;
  }

  it("are equal if their seeds are equal, and differ otherwise", async () => {
    const [first, same, other] = [await statistics(1), await statistics(1), await statistics(2)];
    assert.deepEqual(first, same);
    assert.notDeepEqual(first, other);
  });

  it("have statistics with one eigenvalue far above the mean, and inputs of different sizes", async () => {
    const upper = await statistics(1);
    const at = (i: number, j: number) => upper[Math.min(i, j) * N + Math.max(i, j)];
    const trace = Array.from({ length: N }, (_, i) => at(i, i)).reduce((total, value) => total + value, 0);
    // The power method computes the largest eigenvalue. If all eigenvalues were equal, each would be trace/N.
    let x = Float64Array.from({ length: N }, () => 1), norm = 0;
    for (let step = 0; step < 200; step++) {
      const y = Float64Array.from(
        { length: N },
        (_, i) => x.reduce((total, value, j) => total + at(i, j) * value, 0),
      );
      norm = Math.hypot(...y);
      x = y.map((value) => value / norm);
    }
    assert.ok(norm > 8 * trace / N, `the largest eigenvalue is ${norm}, and the mean is ${trace / N}`);
    const diagonal = Array.from({ length: N }, (_, i) => at(i, i));
    assert.ok(
      Math.max(...diagonal) > 4 * Math.min(...diagonal),
      "some inputs must be much larger than others",
    );
  });

  it("are solved by all methods of benchWide(), which frees all device memory", async () => {
    const live = backend.counters.bytesLive;
    let saved = 0;
    const result = await benchWide(backend, N, 2, {
      log: () => {},
      save: ({ rounds }) => Promise.resolve(void (saved = rounds)),
    });
    assert.equal(saved, 2);
    assert.equal(backend.counters.bytesLive, live);
    const [sparseGpt, ...others] = result.methods;
    for (const { title, relativeError, seconds, overParts } of others) {
      assert.ok(relativeError < sparseGpt.relativeError, title);
      assert.ok(seconds > 0 && overParts > 0, title);
    }
    const total = Object.values(result.kernelShares).reduce((sum, share) => sum + share, 0);
    assert.ok(Math.abs(total - 1) < 1e-9);
    const rows = wideTable({ layers: [result] }).split("\n");
    assert.equal(rows.length, 2 + result.methods.length);
    assert.match(rows[2], /^\| 64 × 64 \| SparseGPT \| 0\.\d{4} \| 1\.000 \| 0 \| 1 \|/);
    assert.match(kernelTable({ layers: [result] }), /^\| all others \| \d+ % \|$/m);
  });
});
