/**
 * Tests the choice of calibration windows, evenly spaced or random. One test compares them with the windows
 * that PyTorch used for opt-sotu, a small OPT model among the test fixtures.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { calibrationWindows } from "../../../src/layer/calibration/windows.ts";
import { readReference, sotuTokens } from "../../support/opt_sotu.ts";

const counting = (length: number) => Uint32Array.from({ length }, (_, i) => i);

describe("calibrationWindows", () => {
  it("spaces the windows evenly if there is no seed", () => {
    const windows = calibrationWindows(counting(103), { windows: 4, seqlen: 10 });
    assert.deepEqual(windows.map((window) => window[0]), [0, 25, 50, 75]);
    for (const window of windows) assert.deepEqual(window, counting(103).subarray(window[0], window[0] + 10));
  });

  it("chooses the same windows as the PyTorch reference of opt-sotu", async () => {
    const { calibration } = await readReference();
    const tokens = await sotuTokens("calibration");
    assert.equal(tokens.length, calibration.tokens);
    const windows = calibrationWindows(tokens, { windows: 64, seqlen: 256 });
    assert.deepEqual([...windows[0].subarray(0, 8)], calibration.first_8_ids_of_window_0);
    assert.deepEqual([...windows[63].subarray(0, 8)], calibration.first_8_ids_of_window_63);
  });

  it("draws random starts from every possible position, and the same starts for the same seed", () => {
    const starts = (seed: number) =>
      calibrationWindows(counting(30), { windows: 200, seqlen: 10, seed }).map((window) => window[0]);
    assert.deepEqual(starts(1), starts(1));
    assert.notDeepEqual(starts(1), starts(2));
    assert.deepEqual([Math.min(...starts(1)), Math.max(...starts(1))], [0, 20]);
    assert.equal(new Set(starts(1)).size, 21);
  });

  it("accepts a text that is exactly long enough, and refuses a text that is one token shorter", () => {
    assert.equal(calibrationWindows(counting(40), { windows: 4, seqlen: 10 })[3][9], 39);
    assert.throws(() => calibrationWindows(counting(39), { windows: 4, seqlen: 10 }), {
      name: "RangeError",
      message: "calibration text: has 39 tokens, but 4 windows of 10 need 40",
    });
    assert.throws(() => calibrationWindows(counting(9), { windows: 1, seqlen: 10, seed: 0 }), /need 10/);
  });
});
