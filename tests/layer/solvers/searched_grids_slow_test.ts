/**
 * Pruning and rounding with searched grids and with scales of 16 bits, on every backend. The results are compared with float64
 * code that searches the same candidates.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { eachBackend } from "../../support/backends.ts";
import { makeLayer } from "../../support/layers.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { readRounded } from "../../support/rounded_solutions.ts";
import { checkRounded, solveRounded, TWO_OF_FOUR, UNSTRUCTURED } from "../../support/rounded_cases.ts";

eachBackend("solveSparseGpt() with searched grids", (backend) => {
  for (const pattern of [UNSTRUCTURED, TWO_OF_FOUR]) {
    for (const symmetric of [false, true]) {
      for (const [groupSize, scaleDtype] of [[0, "F32"], [0, "BF16"], [8, "F16"], [48, "F32"]] as const) {
        const grids = `${symmetric ? "symmetric" : "asymmetric"} grids of ${groupSize || "all"} columns`;
        it(`rounds to ${grids} with scales in ${scaleDtype}, in several tiles and with dead inputs (${pattern.kind})`, async () => {
          const host = makeLayer(70, 203, { seed: 4, dead: [0, 3, 77, 202] });
          const quantization = { bits: 4, groupSize, symmetric, ranges: "search", scaleDtype } as const;
          await checkRounded(backend(), { host, blocksize: 48, edge: 96, pattern, quantization });
        });
      }
    }
  }

  for (
    const [bits, symmetric, groupSize, scaleBits] of [[6, true, 16, 8], [3, true, 16, 6], [4, false, 32, 6], [
      2,
      false,
      16,
      4,
    ]] as const
  ) {
    const grids = { bits, symmetric, groupSize, scaleBits, scaleDtype: "F16" } as const;
    it(`rounds to ${bits}-bit grids whose scales are integers of ${scaleBits} bits times a factor of 256 columns`, async () => {
      const host = makeLayer(12, 530, { seed: bits, dead: [0, 3, 300] });
      for (const [sparsity, ranges] of [[0, "search"], [0.5, "search"], [0, "minmax"]] as const) {
        await checkRounded(backend(), {
          host,
          blocksize: 256,
          edge: 512,
          sparsity,
          quantization: { ...grids, ranges },
        });
      }
    });

    it(`returns ${bits}-bit grids that a file with integers of ${scaleBits} bits can hold`, async () => {
      const quantization = { ...grids, ranges: "search" } as const,
        limit = 2 ** (symmetric ? scaleBits - 1 : scaleBits) - 1;
      const host = makeLayer(20, 512, { seed: 9 });
      await solveRounded(backend(), { host, blocksize: 256, sparsity: 0, quantization }, async (solution) => {
        const { q, codes, scales, zeros } = await readRounded(backend(), solution, quantization);
        const groups = 256 / groupSize, middle = 2 ** (bits - 1);
        for (let at = 0; at < scales.length; at += groups) {
          const own = scales.subarray(at, at + groups);
          const factors = Array.from({ length: limit }, (_, n) => Math.abs(own[0]) / (n + 1));
          const fits = (factor: number) =>
            Math.f16round(factor) === factor && own.every((scale, i) => {
              const n = scale / factor,
                m = Math.round(n * zeros[at + i] / middle),
                first = (at + i) * groupSize;
              return Number.isInteger(n) && Math.abs(n) <= limit && Math.abs(m) <= limit &&
                (symmetric || scale > 0) &&
                codes.subarray(first, first + groupSize).every((code, j) =>
                  q[first + j] === (code * n - m * middle) * factor
                );
            });
          assert.ok(factors.some(fits), `super-block ${at / groups}: ${own}`);
        }
      });
    });
  }

  for (const bits of [2, 3, 8]) {
    it(`rounds all weights to ${bits} bits`, async () => {
      for (const [rows, cols] of [[1, 1], [7, 5], [33, 131]]) {
        for (const groupSize of [0, 32]) {
          const quantization = { bits, groupSize, symmetric: rows > 7, ranges: "search" } as const;
          const host = makeLayer(rows, cols, { seed: bits });
          await checkRounded(backend(), { host, blocksize: 64, edge: 64, sparsity: 0, quantization });
        }
      }
    });
  }

  it("rounds in activation order, with a fixed mask and with forced entries", async () => {
    const next = uniform(3),
      random = (share: number) => Uint8Array.from({ length: 50 * 131 }, () => next() < share ? 1 : 0);
    const host = { ...makeLayer(50, 131, { seed: 8 }), forced: random(0.1) };
    const quantization = { bits: 4, groupSize: 0, symmetric: true, ranges: "search" } as const;
    const solved = { host, blocksize: 32, edge: 64, quantization };
    await checkRounded(backend(), { ...solved, order: "activation" });
    await checkRounded(backend(), { ...solved, fixedMask: random(0.6) });
    await checkRounded(backend(), {
      ...solved,
      quantization: { ...quantization, groupSize: 16 },
      fixedMask: random(0.6),
    });
  });

  it("raises the damping if the statistics are not positive definite", async () => {
    const cols = 70, host = makeLayer(30, cols, { seed: 17 });
    host.hessian.fill(0);
    for (let j = 0; j < cols; j++) host.hessian[j * (cols + 1)] = 1;
    host.hessian[3 * cols + 40] = host.hessian[40 * cols + 3] = 1.05;
    for (const groupSize of [0, 32]) {
      const quantization = { bits: 4, symmetric: true, groupSize, ranges: "search" } as const;
      await checkRounded(backend(), { host, blocksize: 32, edge: 64, quantization });
    }
  });

  it("has scales of the other sign where the largest weight is positive, and rounds this weight exactly", async () => {
    // H is a multiple of I, so nothing is updated. Only the largest weight of each group is not 0.
    const rows = 6, cols = 16, weight = new Float32Array(rows * cols);
    for (let r = 0; r < rows; r++) weight[r * cols + r] = (r % 2 ? -1 : 1) * (r + 1.3);
    const hessian = Float32Array.from({ length: cols * cols }, (_, i) => i % (cols + 1) === 0 ? 2 : 0);
    for (const groupSize of [0, 16]) {
      const quantization = { bits: 4, groupSize, symmetric: true, ranges: "search" } as const;
      const solved = {
        host: { rows, cols, weight, hessian },
        blocksize: 16,
        edge: 16,
        sparsity: 0,
        quantization,
      };
      await solveRounded(backend(), solved, async (solution) => {
        const { q, scales } = await readRounded(backend(), solution, quantization);
        assert.deepEqual(q, weight);
        assert.deepEqual([...scales].map(Math.sign), [-1, 1, -1, 1, -1, 1]);
      });
    }
  });

  it("returns scales that are numbers of the dtype", async () => {
    const host = makeLayer(20, 96, { seed: 5 });
    for (const [scaleDtype, bits] of [["F16", 13], ["BF16", 16]] as const) {
      for (const ranges of ["minmax", "search"] as const) {
        for (const groupSize of [0, 32]) {
          const quantization = { bits: 3, groupSize, symmetric: false, ranges, scaleDtype };
          await solveRounded(backend(), { host, blocksize: 32, quantization }, async (solution) => {
            const { scales } = await readRounded(backend(), solution, quantization);
            for (const word of new Uint32Array(scales.buffer)) assert.equal(word & (2 ** bits - 1), 0);
          });
        }
      }
    }
  });
});
