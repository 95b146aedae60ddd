/** Tests that the latency bench sends its requests from concurrent clients. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { runUnderLoad } from "../../../scripts/bench/latency_bench.ts";

describe("runUnderLoad", () => {
  it("uses all clients at once and stops after the requested number of calls", async () => {
    let running = 0, most = 0, sent = 0;
    const send = async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => setTimeout(resolve, 1));
      running--;
      return sent++;
    };
    const results = await runUnderLoad({ clients: 3, requests: 10 }, send);
    assert.equal(most, 3);
    assert.deepEqual(results.sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("fails if a call fails", async () => {
    const fail = () => Promise.reject(new Error("busy"));
    await assert.rejects(runUnderLoad({ clients: 2, requests: 4 }, fail), /busy/);
  });
});
