/** Tests the errors of the outputs of pruned blocks on held-out windows against a forward pass in float64. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { bytesToFloats } from "../../src/tensor/dtype.ts";
import { blockOutputError } from "../reference/block_output_error.ts";
import { readOptReference } from "../reference/opt_forward.ts";
import { eachBackend } from "../support/backends.ts";
import { replaceWeights } from "../support/solve_blocks.ts";
import { halved, OPT_SOTU_URL, sotuTokens, useOptSotu } from "../support/opt_sotu.ts";

const SEQLEN = 20;
const windows = calibrationWindows(await sotuTokens("calibration"), { windows: 3, seqlen: SEQLEN });
const heldOut = calibrationWindows(await sotuTokens("evaluation"), { windows: 3, seqlen: SEQLEN });

const opt = useOptSotu();

/** The bytes of the activations of one window. */
const WINDOW_BYTES = 262_000;

eachBackend("a calibration with held-out windows", (backend) => {
  for (
    const [memory, what] of [
      [{ activationBytes: WINDOW_BYTES }, "one window per batch"],
      [{ activationBytes: 2 * WINDOW_BYTES, hiddenStatesBytes: 0 }, "two, and states in host memory"],
      [{}, "all windows in one batch"],
    ] as const
  ) {
    it(`measures the error of each block with pruned layers, with ${what}`, async () => {
      const dense = readOptReference(OPT_SOTU_URL), pruned = readOptReference(OPT_SOTU_URL);
      const written = new Map<string, Float64Array>(), blocks: number[] = [];
      await replaceWeights(opt.model, backend(), {
        windows,
        validationWindows: heldOut,
        memory,
        layers: { has: (name) => !name.includes("layers.2.") },
        replace: (name, { data }) =>
          Promise.resolve(void written.set(name, Float64Array.from(bytesToFloats(data, "F16")))),
        recordBlockError(block, error) {
          for (const [name, values] of written) pruned.tensors.set(name, values);
          const expected = blockOutputError(dense, pruned, block, heldOut);
          assert.ok(Math.abs(error / expected - 1) < 1e-4, `block ${block}: ${error}, expected ${expected}`);
          for (const [name, values] of written) dense.tensors.set(name, values);
          blocks.push(block);
          return Promise.resolve();
        },
      }, ({ weight }) => halved(weight));
      assert.deepEqual(blocks, [0, 1, 3]);
      assert.equal(backend().counters.bytesLive, 0);
    });
  }

  it("measures nothing without held-out windows", async () => {
    const recordBlockError = () => Promise.reject(new Error("was measured"));
    await replaceWeights(opt.model, backend(), { windows, recordBlockError }, ({ weight }) => weight);
  });
});
