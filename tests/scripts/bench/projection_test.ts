/**
 * Tests the projection, which estimates the time of pruning a whole model, against figures that were computed
 * by hand.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { factorFlops, solveFlops } from "../../../scripts/bench/measure/flops.ts";
import { MODELS, type ModelShapes, weightCount } from "../../../scripts/bench/projection/model_shapes.ts";
import { hours, modelMemory, modelWork, ratesOf } from "../../../scripts/bench/projection/projection.ts";
import { LAYER } from "./layer_result.ts";

/**
 * A model with two equal blocks. In each block, a (6, 12) layer and a (3, 12) layer share one input, and a
 * (12, 6) layer has another input.
 */
const TINY: ModelShapes = {
  title: "tiny",
  blocks: 2,
  inputs: [{ cols: 12, rows: [6, 3] }, { cols: 6, rows: [12] }],
};

describe("flops.ts", () => {
  it("counts a factorisation as n³/3", () => assert.equal(factorFlops(12), 576));

  it("counts a solve as rows·n² + 3·rows·n·B for blocks of B columns", () => {
    assert.equal(solveFlops(6, 12, 4), 6 * 144 + 3 * 6 * 12 * 4);
    assert.equal(solveFlops(4096, 4096), 68_719_476_736 + 6_442_450_944);
  });
});

describe("model_shapes.ts", () => {
  // Each transformer block has 12·h² weights, where h is the hidden size. The published sizes also count
  // embeddings and biases.
  it("has the number of weights of OPT-175B", () =>
    assert.equal(weightCount(MODELS["opt-175b"]), 173_946_175_488));
  it("has the number of weights of BLOOM-176B", () =>
    assert.equal(weightCount(MODELS["bloom-176b"]), 172_637_552_640));
});

describe("modelWork", () => {
  it("adds up the work of all layers, and counts each shared input once", () => {
    assert.deepEqual(modelWork(TINY, 10), {
      forward: 4 * 360 * 10, // weights: 2·(108 + 72)
      statistics: 2 * 10 * (144 + 36),
      read: 2 * 360 + 2 * 4 * (78 + 21), // packed triangles of 12 and 6
      factor: 2 * (576 + 72),
      solve: 2 * (9 * 144 + 3 * 9 * 12 * 128 + 12 * 36 + 3 * 12 * 6 * 128),
      write: 2 * 360 + 2 * (9 * 2 + 12 * 1), // masks: 2 bytes and 1 byte per row
    });
  });

  it("counts 2144·12288³ flops for the factorisations of OPT-175B", () => {
    // Each of the 96 blocks has three factorisations of order 12288 and one of order 4·12288: (3 + 64)/3·12288³ flops.
    assert.equal(modelWork(MODELS["opt-175b"]).factor, 2144 * 12288 ** 3);
  });
});

describe("modelMemory", () => {
  it("counts one block and its statistics for calibration, and one Hessian triangle and one layer for the solve", () => {
    const forward = 4 * 180 + 256 * 2 ** 20; // weights of a block: 108 + 72
    const layer = 4 * 78 + 4 * 12 * 6; // the larger layer of the wider input
    assert.deepEqual(modelMemory(TINY), {
      forward,
      statistics: forward + 4 * 78 + 4 * 21,
      read: layer,
      factor: layer,
      solve: layer,
      write: layer,
    });
  });
});

describe("ratesOf", () => {
  const peak = { order: 1024, gflops: 50 };

  it("returns the rates of the largest layer", () => {
    const small = { ...LAYER, rows: 10, cols: 10 };
    assert.deepEqual(ratesOf({ layers: [LAYER, small], peak }), {
      forward: 50e9,
      statistics: 50e9,
      read: 4 * (800_000 + 640_000), // in 1 s
      factor: 800 ** 3 / 3 / 2,
      solve: (1000 * 800 ** 2 + 3 * 1000 * 800 * 128) / 4,
      write: 1000 * (3200 + 100), // in 8 − 7 s
    });
  });

  it("rejects results without the GEMM rate or without a layer", () => {
    assert.throws(() => ratesOf({ layers: [LAYER] }), /needs a results file with a layer and the GEMM rate/);
    assert.throws(() => ratesOf({ layers: [], peak }), /needs a results file/);
  });
});

describe("hours", () => {
  it("divides work by rates", () => {
    const all = (value: number) => ({
      forward: value,
      statistics: value,
      read: value,
      factor: value,
      solve: value,
      write: value,
    });
    assert.deepEqual(hours(all(7200), all(2)), all(1));
  });
});
