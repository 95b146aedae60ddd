/** Tests that the latency bench sends requests from concurrent clients, and runs the bench on a host. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { measureLatency, runUnderLoad } from "../../../scripts/bench/latency/measure_latency.ts";
import { startHost } from "../../../scripts/processes/child_host.ts";

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

describe("measureLatency", () => {
  it("measures the latency of a host under load", async () => {
    await using host = await startHost(["--backend", "cpu"]);
    const latency = await measureLatency(host, 16, 24, { clients: 8, requests: 16 });
    assert.deepEqual([latency.rows, latency.cols, latency.clients, latency.requests], [16, 24, 8, 16]);
    assert.ok(latency.alone > 0 && latency.p50 > 0 && latency.p50 <= latency.p99);
    assert.ok(latency.requestsPerSecond > 0);
  });
});
