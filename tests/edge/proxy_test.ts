/**
 * Tests the application of the edge (Pare's Cloudflare Worker) in front of a real host, outside the Workers
 * runtime: requests that it forwards, and requests that it refuses.
 */

import assert from "node:assert/strict";
import { after, before, beforeEach, describe, it } from "@std/testing/bdd";
import { serve } from "../../routes/serve.ts";
import { createEdge } from "../../src/edge/app.ts";
import type { EdgeBindings } from "../../src/edge/bindings.ts";
import { modelFiles } from "../routes/block_task_files.ts";
import { MemoryBucket } from "./memory_bucket.ts";
import { hexOf } from "./memory_edge.ts";

const LAYER = new URL("../fixtures/layers/layer.safetensors", import.meta.url);
const HEADERS = { "Content-Type": "application/vnd.safetensors" };

const edge = createEdge();

const host = await serve({ backend: "cpu", port: 0, log: () => {} });
const body = await Deno.readFile(LAYER);
after(() => host.shutdown());

describe("the edge", () => {
  function post(bindings: EdgeBindings, headers: Record<string, string> = {}): Response | Promise<Response> {
    const init = { method: "POST", headers: { ...HEADERS, ...headers }, body };
    return edge.request("/v1/layers?sparsity=0.5", init, bindings);
  }

  const length = () => ({ "Content-Length": String(body.byteLength) });

  it("forwards the problems of the host", async () => {
    const response = await edge.request("/v1/nothing", {}, { EDGE_HOST: host.url });
    assert.deepEqual([response.status, (await response.json()).code], [404, "not_found"]);
  });

  it("refuses a body over the limit of the plan, or without a Content-Length", async () => {
    const bindings = { EDGE_HOST: host.url, EDGE_BODY_LIMIT: "1000", BLOBS: new MemoryBucket() };
    const tooLarge = await post(bindings, length());
    assert.equal(tooLarge.status, 413);
    const { code, limit, uploads } = await tooLarge.json();
    assert.deepEqual([code, limit, uploads], ["too_large", 1000, "http://localhost/v1/uploads"]);
    const unknown = await post({ EDGE_HOST: host.url });
    assert.deepEqual([unknown.status, (await unknown.json()).code], [411, "length_required"]);
  });

  it("checks the query before it sends a body to the host", async () => {
    const init = { method: "POST", headers: { ...HEADERS, ...length() }, body };
    const answer = await edge.request("/v1/layers?sparsity=2&wings=1", init, {
      EDGE_HOST: "http://127.0.0.1:1",
    });
    assert.equal(answer.status, 400);
    const { code, errors } = await answer.json();
    assert.deepEqual([code, errors.map(({ parameter }: { parameter: string }) => parameter).sort()], [
      "invalid_parameter",
      ["sparsity", "wings"],
    ]);
    const nameless = await edge.request("/v1/layers?=1", init, { EDGE_HOST: "http://127.0.0.1:1" });
    assert.deepEqual([nameless.status, (await nameless.json()).code], [400, "invalid_parameter"]);
  });
});

describe("hidden states that a client stores through the edge", () => {
  it("have a name of this client's own, also if the name is in a query", async () => {
    const { states, blocks: [block] } = await modelFiles("llama", { sparsity: 0.5 });
    const env = { EDGE_HOST: host.url, PARE_KEYS: `${await hexOf("one")},${await hexOf("two")}` };
    const send = async (method: string, path: string, key: string, body?: Uint8Array<ArrayBuffer>) => {
      const authorized = { Authorization: `Bearer ${key}` };
      const headers = body
        ? { ...HEADERS, ...authorized, "Content-Length": String(body.length) }
        : authorized;
      const response = await edge.request(path, { method, headers, body }, env);
      await response.body?.cancel();
      return response.status;
    };
    const path = "/v1/states/run", pruning = "/v1/blocks/prune?block=0&states=run";
    assert.equal(await send("PUT", path, "one", states), 201);
    for (const method of ["GET", "DELETE"]) assert.equal(await send(method, path, "two"), 404, method);
    assert.equal(await send("POST", pruning, "two", block), 404);
    assert.equal(await send("PUT", path, "two", states), 201);
    for (const key of ["one", "two"]) assert.equal(await send("POST", pruning, key, block), 200, key);
    assert.equal(await send("POST", "/v1/blocks/prune?block=0&states=other&states=run", "one", block), 400);
    assert.equal(await send("GET", "/v1/states/a:b", "one"), 400);
    for (const key of ["one", "two"]) assert.equal(await send("DELETE", path, key), 204, key);
  });
});

describe("the key that the edge has for its host (EDGE_HOST_KEY)", () => {
  let server: Deno.HttpServer<Deno.NetAddr>, seen: (string | null)[], env: EdgeBindings;
  before(() => {
    server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      seen.push(request.headers.get("Authorization"));
      return new Response();
    });
    env = { EDGE_HOST: `http://127.0.0.1:${server.addr.port}`, EDGE_HOST_KEY: "host-key" };
  });
  after(() => server.shutdown());
  beforeEach(() => {
    seen = [];
  });

  async function ask(path: string, bindings: EdgeBindings, key?: string): Promise<number> {
    const headers: Record<string, string> = key === undefined ? {} : { Authorization: `Bearer ${key}` };
    return (await edge.request(path, { headers }, { ...env, ...bindings })).status;
  }

  it("is sent for requests that the edge has authorised", async () => {
    const keys = { PARE_KEYS: await hexOf("mine") };
    assert.equal(await ask("/metrics", keys, "mine"), 200);
    assert.equal(await ask("/metrics", { EDGE_OPEN: "true" }), 200);
    assert.deepEqual(seen, ["Bearer host-key", "Bearer host-key"]);
    assert.equal(await ask("/metrics", keys, "other"), 401);
    assert.equal(seen.length, 2);
  });

  it("is not sent for other requests, which are forwarded with the key of the client", async () => {
    assert.equal(await ask("/metrics", {}), 200);
    assert.equal(await ask("/metrics", {}, "mine"), 200);
    assert.equal(await ask("/ping", { PARE_KEYS: await hexOf("mine") }), 200);
    assert.deepEqual(seen, [null, "Bearer mine", null]);
  });

  it("is never sent to another host, even if the path of the request names one", async () => {
    const misdirected: string[] = [];
    const other = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      misdirected.push(request.url);
      return new Response();
    });
    const name = `127.0.0.1:${other.addr.port}`;
    for (const path of [`//${name}/x`, `/\\${name}/x`, `///${name}/x`, `/http://${name}/x`]) {
      const request = new Request(`http://localhost${path}`);
      assert.equal((await edge.request(request, {}, { ...env, EDGE_OPEN: "true" })).status, 404, path);
    }
    await other.shutdown();
    assert.deepEqual([...misdirected, ...seen], []);
  });
});

describe("an EDGE_BODY_LIMIT that is not a number", () => {
  it("makes requests with a body fail with an error in the log that names the variable", async () => {
    const logged: string[] = [], { error } = console;
    console.error = (line: string) => logged.push(line);
    try {
      const init = { method: "POST", headers: { "Content-Length": "3" }, body: "abc" };
      const answer = await edge.request("/v1/layers", init, { EDGE_HOST: "", EDGE_BODY_LIMIT: "100 MB" });
      assert.deepEqual([answer.status, (await answer.json()).code], [500, "internal"]);
    } finally {
      console.error = error;
    }
    assert.match(logged.join(), /EDGE_BODY_LIMIT: must be a whole number of at least 1, got \\"100 MB\\"/);
  });
});
