/** Requests of several clients: as many as asked, never more at once than clients. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { measureLatency, press } from "../../scripts/bench/latency.ts";
import { startHost } from "../../scripts/child_host.ts";

describe("press", () => {
  it("keeps every client busy and stops at the count", async () => {
    let running = 0, most = 0, sent = 0;
    const send = async () => {
      most = Math.max(most, ++running);
      await new Promise<void>((resolve) => setTimeout(resolve, 1));
      running--;
      return sent++;
    };
    const gathered = await press({ clients: 3, requests: 10 }, send);
    assert.equal(most, 3);
    assert.deepEqual(gathered.sort((a, b) => a - b), [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it("fails as a request fails", async () => {
    const refuse = () => Promise.reject(new Error("busy"));
    await assert.rejects(press({ clients: 2, requests: 4 }, refuse), /busy/);
  });
});

describe("measureLatency", () => {
  it("times a host under load", async () => {
    await using host = await startHost(["--backend", "cpu"]);
    const latency = await measureLatency(host, 16, 24, { clients: 8, requests: 16 });
    assert.deepEqual([latency.rows, latency.cols, latency.clients, latency.requests], [16, 24, 8, 16]);
    assert.ok(latency.alone > 0 && latency.p50 > 0 && latency.p50 <= latency.p99);
    assert.ok(latency.requestsPerSecond > 0);
  });
});
