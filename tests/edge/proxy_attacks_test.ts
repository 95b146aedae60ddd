/**
 * Tests what the edge (Pare's Cloudflare Worker) passes on between clients and its GPU host, with a simulated
 * host that redirects, hangs, or sets cookies.
 */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import { createEdge } from "../../src/edge/app.ts";
import type { EdgeBindings } from "../../src/edge/bindings.ts";
import { HostFailedError } from "../../src/edge/jobs/host_answer.ts";
import { askHost } from "../../src/edge/jobs/host_tasks.ts";
import { taskRequestSchema } from "../../src/protocol/resources/tasks.ts";
import { loggedErrors } from "./memory_edge.ts";

const edge = createEdge();

/** Starts a server on a free port. Returns its URL and the headers of the requests that it has received. */
function startServer(answer: (request: Request) => Response | Promise<Response>) {
  const received: Headers[] = [];
  const server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
    received.push(new Headers(request.headers));
    return answer(request);
  });
  return { url: `http://127.0.0.1:${server.addr.port}`, received, close: () => server.shutdown() };
}

describe("a request that the edge forwards", () => {
  let answer: (request: Request) => Response | Promise<Response>;
  let host: ReturnType<typeof startServer>, other: ReturnType<typeof startServer>;
  beforeEach(() => {
    answer = () => new Response("ok");
    host = startServer((request) => answer(request));
    other = startServer(() => new Response("stolen"));
  });
  afterEach(async () => {
    await Promise.all([host.close(), other.close()]);
  });

  const send = async (path: string, init: RequestInit = {}, env: Partial<EdgeBindings> = {}) =>
    await edge.request(path, init, { EDGE_HOST: host.url, ...env });
  const layer = () => ({
    method: "POST",
    headers: { "Content-Type": "application/octet-stream", "Content-Length": "5" },
    body: "bytes",
  });

  it("reaches the host without headers about the client's identity and connection", async () => {
    const hidden = [
      "Cookie",
      "Forwarded",
      "Proxy-Authorization",
      "Via",
      "X-Forwarded-For",
      "X-Forwarded-Host",
      "X-Forwarded-Proto",
      "X-Real-IP",
      "CF-Connecting-IP",
      "True-Client-IP",
      "Origin",
      "Referer",
      "X-Anything",
    ];
    const { method, body, headers } = layer();
    await send("/v1/layers", {
      method,
      body,
      headers: {
        ...headers,
        ...Object.fromEntries(hidden.map((name) => [name, "1"])),
        "Authorization": "Bearer mine",
        "X-Request-Id": "id-1",
        "traceparent": "00-1-2-01",
      },
    });
    const [received] = host.received;
    assert.deepEqual(hidden.filter((name) => received.has(name)), []);
    assert.deepEqual(
      ["authorization", "content-type", "x-request-id", "traceparent"].map((name) => received.get(name)),
      ["Bearer mine", "application/octet-stream", "id-1", "00-1-2-01"],
    );
  });

  it("is never sent to another server by a redirect of the host", async () => {
    for (const status of [301, 302, 303, 307, 308]) {
      answer = () => new Response(null, { status, headers: { Location: `${other.url}/x` } });
      await loggedErrors(async () => {
        for (const response of [await send("/docs/scalar.js"), await send("/v1/layers", layer())]) {
          assert.deepEqual([response.status, (await response.json()).code], [503, "no_device"]);
          assert.equal(response.headers.get("Location"), null);
        }
      });
    }
    assert.deepEqual(other.received, []);
    assert.equal(host.received.length, 10);
  });

  it("gets the host's answer that nothing has changed", async () => {
    answer = () => new Response(null, { status: 304 });
    assert.equal((await send("/docs/scalar.js")).status, 304);
  });

  it("gets no cookie of the host", async () => {
    answer = () => new Response("ok", { headers: { "Set-Cookie": "a=b" } });
    assert.equal((await send("/docs/scalar.js")).headers.get("Set-Cookie"), null);
  });

  it("gets no address of a host that cannot be reached; the log has the address under the request id", async () => {
    const logged = await loggedErrors(async () => {
      const headers = { "X-Request-Id": "id-2" };
      const response = await send("/readyz", { headers }, { EDGE_HOST: "http://127.0.0.1:1" });
      const text = await response.text();
      assert.deepEqual([response.status, JSON.parse(text).code], [503, "no_device"]);
      assert.ok(!text.includes("127.0.0.1"), text);
      assert.ok(response.headers.has("Retry-After"));
    });
    const [{ request_id, host }] = logged.map((line) => JSON.parse(line));
    assert.equal(request_id, "id-2");
    assert.match(host, /^http:\/\/127\.0\.0\.1:1: /);
  });

  it("is answered with 503 if the host hangs, before its answer or in the middle of a probe's answer", async () => {
    const { promise, resolve } = Promise.withResolvers<void>();
    answer = () => promise.then(() => new Response());
    const start = performance.now();
    await loggedErrors(async () => {
      const responses = await Promise.all(
        ["/healthz", "/readyz", "/docs/scalar.js"].map((path) => send(path, {}, { EDGE_HOST_TIMEOUT: "1" })),
      );
      for (const response of responses) {
        assert.deepEqual([response.status, (await response.json()).code], [503, "no_device"]);
      }
    });
    resolve();
    answer = () =>
      new Response(new ReadableStream({ start: (body) => body.enqueue(new TextEncoder().encode("{")) }));
    const half = await send("/healthz", {}, { EDGE_HOST_TIMEOUT: "1" });
    assert.equal(half.status, 200);
    await assert.rejects(half.text());
    assert.ok(performance.now() - start < 5000);
    assert.equal((await send("/openapi.json")).status, 200);
  });
});

describe("a task that the edge sends to a host", () => {
  it("is never sent to another server by a redirect, because it has signed URLs", async () => {
    const other = startServer(() => Response.json({ state: "running" }));
    const host = startServer(() =>
      new Response(null, { status: 307, headers: { Location: `${other.url}/x` } })
    );
    const digest = "sha256:" + "0".repeat(64);
    const task = taskRequestSchema.parse({
      id: "t",
      weight: { url: "http://bucket/secret", sha256: digest },
      result: { url: "http://bucket/secret" },
    });
    const transport = {
      secret: "a secret of thirty-two bytes: 123",
      fetch: (url: URL, init: RequestInit) => fetch(url, init),
    };
    await assert.rejects(
      askHost(transport, { id: "h", url: host.url }, task),
      (error) =>
        error instanceof HostFailedError && error.isGone && /redirects with status 307/.test(error.message),
    );
    assert.deepEqual(other.received, []);
    await Promise.all([host.close(), other.close()]);
  });
});

describe("an answer with status 503", () => {
  it("always has the header Retry-After", async () => {
    for (const path of ["/readyz", "/v1/layers", "/ping"]) {
      const method = path === "/v1/layers" ? "POST" : "GET";
      const response = await edge.request(path, { method }, {});
      assert.deepEqual([response.status, (await response.json()).code], [503, "no_device"]);
      assert.match(response.headers.get("Retry-After") ?? "", /^\d+$/, path);
    }
  });
});

describe("a method that a path does not have", () => {
  const id = "0".repeat(32), digest = `sha256:${id}${id}`, uuid = crypto.randomUUID();
  const cases: [method: string, path: string, allow: string][] = [
    ["GET", "/v1/layers", "POST"],
    ["DELETE", "/v1/layers", "POST"],
    ["POST", `/v1/hessians/${digest}`, "DELETE, GET, HEAD, PUT"],
    ["GET", "/v1/uploads", "POST"],
    ["PUT", `/v1/uploads/${uuid}`, "DELETE, GET, HEAD"],
    ["GET", `/v1/uploads/${uuid}/complete`, "POST"],
    ["POST", `/v1/blobs/${digest}`, "GET, HEAD"],
    ["PUT", "/v1/jobs", "GET, HEAD, POST"],
    ["POST", `/v1/jobs/${id}`, "DELETE, GET, HEAD"],
    ["POST", "/v1/hosts", "GET, HEAD"],
    ["GET", "/v1/hosts/h", "DELETE, PUT"],
    ["POST", "/healthz", "GET, HEAD"],
    ["POST", "/openapi.json", "GET, HEAD"],
    ["OPTIONS", "/v1/jobs", "GET, HEAD, POST"],
    ["PROPFIND", "/v1/jobs", "GET, HEAD, POST"],
  ];
  for (const [method, path, allow] of cases) {
    it(`is refused: ${method} ${path.slice(0, 20)}`, async () => {
      const response = await edge.request(path, { method }, { EDGE_OPEN: "true" });
      assert.deepEqual([response.status, response.headers.get("Allow")], [405, allow]);
      assert.equal((await response.json()).code, "method_not_allowed");
      assert.ok(response.headers.has("X-Request-Id"));
    });
  }

  it("does not change what an unknown path is answered", async () => {
    for (const path of ["/v1/uploads/x/y/z", "/v1/jobs/x/y", "/v1/blobs"]) {
      assert.equal((await edge.request(path, {}, { EDGE_OPEN: "true" })).status, 404, path);
    }
  });
});
