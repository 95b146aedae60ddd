/**
 * Pruning and rounding in one pass in the natural order of the columns, on every backend. The results are compared with
 * the published algorithm in float64.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { relativeError } from "../../../src/layer/solvers/solver.ts";
import type { Pattern } from "../../../src/tensor/pattern.ts";
import { assertSame } from "../../support/assert_same.ts";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer } from "../../support/layers.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { readRounded } from "../../support/rounded_solutions.ts";
import {
  checkRounded,
  solveRounded,
  TWO_OF_FOUR,
  UNSTRUCTURED,
  WHOLE_ROWS,
} from "../../support/rounded_cases.ts";

eachBackend("solveSparseGpt() with quantization", (backend) => {
  for (const bits of [2, 3, 4, 8]) {
    it(`prunes half of the weights and rounds the others to ${bits}-bit grids of their rows`, async () => {
      const quantization = { ...WHOLE_ROWS, bits };
      await checkRounded(backend(), { host: makeLayer(1, 1, { seed: 1 }), blocksize: 128, quantization });
      await checkRounded(backend(), { host: makeLayer(7, 5, { seed: 2 }), blocksize: 128, quantization });
      await checkRounded(backend(), { host: makeLayer(127, 129, { seed: 3 }), blocksize: 128, quantization });
    });
  }

  for (const pattern of [UNSTRUCTURED, TWO_OF_FOUR]) {
    for (const symmetric of [false, true]) {
      for (const groupSize of [0, 8, 48]) {
        const grids = `${symmetric ? "symmetric" : "asymmetric"} grids of ${groupSize || "all"} columns`;
        it(`rounds to ${grids} in several tiles and with dead inputs (${pattern.kind})`, async () => {
          const host = makeLayer(150, 203, { seed: 4, dead: [0, 3, 77, 202] });
          const quantization = { bits: 4, groupSize, symmetric };
          await checkRounded(backend(), { host, blocksize: 48, edge: 96, pattern, quantization });
        });
      }
    }
  }

  it("equals GPTQ at sparsity 0, where every weight is rounded", async () => {
    const host = makeLayer(60, 172, { seed: 5, dead: [9] });
    for (const groupSize of [0, 32]) {
      const quantization = { bits: 3, symmetric: false, groupSize };
      await checkRounded(backend(), { host, blocksize: 64, edge: 64, sparsity: 0, quantization });
    }
  });

  for (const pattern of [UNSTRUCTURED, TWO_OF_FOUR]) {
    it(`keeps exactly the entries of a fixed mask, whatever sparsity and pattern are (${pattern.kind})`, async () => {
      const next = uniform(6), host = makeLayer(70, 203, { seed: 6 });
      const forced = Uint8Array.from({ length: 70 * 203 }, () => next() < 0.1 ? 1 : 0);
      const fixedMask = Uint8Array.from({ length: 70 * 203 }, (_, i) => i < 203 || next() < 0.6 ? 1 : 0);
      for (const groupSize of [0, 16]) {
        const quantization = { bits: 4, symmetric: false, groupSize };
        const solved = {
          host: { ...host, forced },
          blocksize: 48,
          edge: 96,
          pattern,
          quantization,
          fixedMask,
        };
        await checkRounded(backend(), solved);
      }
    });
  }

  for (const [pattern, sparsity] of [[UNSTRUCTURED, 0.5], [UNSTRUCTURED, 0], [TWO_OF_FOUR, 0]] as const) {
    it(`prunes forced entries (${pattern.kind}, sparsity ${sparsity})`, async () => {
      const next = uniform(8), rows = 60, cols = 150;
      const forced = Uint8Array.from(
        { length: rows * cols },
        (_, i) => i < cols || (i % cols < 40 && i % 5 < 4) || next() < 0.03 ? 1 : 0,
      );
      const host = { ...makeLayer(rows, cols, { seed: 7 }), forced };
      const quantization = { ...WHOLE_ROWS, bits: 4 };
      await checkRounded(backend(), { host, blocksize: 32, edge: 64, pattern, sparsity, quantization });
      await solveRounded(
        backend(),
        { host, blocksize: 32, pattern, sparsity, quantization },
        async (solution) => {
          const { mask } = await readRounded(backend(), solution, quantization);
          forced.forEach((flag, i) => assert.ok(!(flag && mask[i]), `forced entry ${i} is kept`));
        },
      );
    });
  }

  it("accepts columns that end within a group of the pattern and within a grid", async () => {
    const host = makeLayer(33, 103, { seed: 9 }), pattern: Pattern = { kind: "n:m", keep: 3, group: 5 };
    const quantization = { bits: 4, symmetric: false, groupSize: 20 };
    await checkRounded(backend(), { host, blocksize: 40, edge: 80, pattern, quantization });
  });

  it("computes the codes of integer weights exactly if the inputs are not correlated", async () => {
    // H is a multiple of I, so nothing is updated. The largest weight of each row is 7·scale with a power of two.
    const rows = 20, cols = 96, next = uniform(10);
    const weight = Float32Array.from({ length: rows * cols }, (_, i) => {
      const r = Math.floor(i / cols), c = i % cols;
      return (c === 0 ? 7 : c === 1 ? -8 : Math.floor(next() * 16) - 8) * 2 ** (r % 5 - 2);
    });
    const hessian = Float32Array.from({ length: cols * cols }, (_, i) => i % (cols + 1) === 0 ? 2 : 0);
    const quantization = { ...WHOLE_ROWS, bits: 4 };
    const solved = {
      host: { rows, cols, weight, hessian },
      blocksize: 32,
      edge: 64,
      sparsity: 0,
      quantization,
    };
    await solveRounded(backend(), solved, async (solution) => {
      const { q, scales, zeros } = await readRounded(backend(), solution, quantization);
      assert.deepEqual(q, weight);
      assert.deepEqual([...scales], Array.from({ length: rows }, (_, r) => 2 ** (r % 5 - 2)));
      assert.deepEqual([...zeros], Array(rows).fill(8));
      assert.equal(solution.loss, 0);
    });
  });

  it("rounds a layer of zeros to zeros with the scale 1", async () => {
    const host = { ...makeLayer(9, 40, { seed: 11 }), weight: new Float32Array(360) };
    for (const symmetric of [false, true]) {
      const quantization = { bits: 4, symmetric, groupSize: 0 };
      await solveRounded(backend(), { host, blocksize: 32, quantization }, async (solution) => {
        const { q, scales } = await readRounded(backend(), solution, quantization);
        assert.deepEqual(q, host.weight);
        assert.deepEqual([...scales], Array(9).fill(1));
        assert.deepEqual([solution.loss, relativeError(solution)], [0, 0]);
      });
    }
  });

  it("computes the same bits in every run", async () => {
    const host = makeLayer(100, 172, { seed: 12 }), runs: unknown[] = [];
    for (let run = 0; run < 2; run++) {
      const quantization = { bits: 4, symmetric: false, groupSize: 32 };
      await solveRounded(backend(), { host, blocksize: 64, edge: 128, quantization }, async (solution) => {
        runs.push([await readRounded(backend(), solution, quantization), solution.loss]);
      });
    }
    assertSame(runs[0], runs[1]);
  });
});
