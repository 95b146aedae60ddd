/**
 * Tests rate limits and forwarded requests of the edge (Pare's Cloudflare Worker) in the real
 * Workers runtime, in front of a real host.
 */

import assert from "node:assert/strict";
import { after, describe, it } from "@std/testing/bdd";
import { serve } from "../../routes/serve.ts";
import { decode } from "../../src/tensor/safetensors/decode.ts";
import { createEdge } from "../../src/edge/app.ts";
import { startDevEdge } from "./local_edge.ts";
import { hexOf } from "./memory_edge.ts";
import { assertSame } from "../support/assert_same.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);
const HEADERS = { "Content-Type": "application/vnd.safetensors" };

const host = await serve({ backend: "cpu", port: 0, log: () => {} });
const body = await Deno.readFile(LAYER);
const edge = await startDevEdge({ EDGE_HOST: host.url });
after(async () => {
  await edge.close();
  await host.shutdown();
});

describe("the edge in the Workers runtime, in front of a host", () => {
  it("forwards a layer and its answer with the request id of the client", async () => {
    const answer = await fetch(edge.url + "/v1/layers?sparsity=0.5", {
      method: "POST",
      headers: { ...HEADERS, "X-Request-Id": "edge.1:a" },
      body,
    });
    assert.deepEqual([answer.status, answer.headers.get("X-Request-Id")], [200, "edge.1:a"]);
    assert.equal(JSON.parse(answer.headers.get("Pare-Report")!).zeros, 64 * 96 / 2);
    const direct = await fetch(`${host.url}/v1/layers?sparsity=0.5`, {
      method: "POST",
      headers: HEADERS,
      body,
    });
    const tensors = async (response: Response) =>
      decode(new Uint8Array(await response.arrayBuffer())).tensors;
    assertSame(await tensors(answer), await tensors(direct));
  });
});

describe("a rate limit", () => {
  it("applies to each key separately, and its refusal has the seconds to wait", async () => {
    const edge = await startDevEdge({ PARE_KEYS: `${await hexOf("busy")},${await hexOf("calm")}` }, {
      RATE: { type: "ratelimit", namespace_id: "1", simple: { limit: 3, period: 60 } },
    });
    try {
      const ask = (key: string) =>
        fetch(`${edge.url}/v1/blobs/sha256:${"0".repeat(64)}`, {
          headers: { Authorization: `Bearer ${key}` },
        });
      const statuses = [];
      for (let i = 0; i < 4; i++) statuses.push((await ask("busy")).status);
      assert.deepEqual(statuses, [404, 404, 404, 429]);
      const refused = await ask("busy");
      const { code, detail } = await refused.json();
      assert.deepEqual([refused.headers.get("Retry-After"), code], ["60", "busy"]);
      assert.equal(detail, "this API key has used all its requests of this minute");
      assert.equal((await ask("calm")).status, 404);
    } finally {
      await edge.close();
    }
  });

  it("applies to the network address if the edge has no keys, and its refusal speaks of no key", async () => {
    const used = { limit: () => Promise.resolve({ success: false }) };
    const refused = await createEdge().request("/v1/jobs", {}, { EDGE_OPEN: "true", RATE: used });
    const { code, detail } = await refused.json();
    assert.deepEqual([refused.status, code], [429, "busy"]);
    assert.equal(detail, "this network address has used all its requests of this minute");
  });
});
