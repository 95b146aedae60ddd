/** Tests the host's HTTP application: request ids, logging, allowed methods, and the resources that describe the host. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { memoryBackend } from "../host/memory_backend.ts";
import { bytes, file, floats } from "../layer/bodies.ts";
import { problemOf, startHost } from "./host.ts";

const BODY = file({ weight: floats("F32", [2, 4], new Float32Array(8)) });

const host = await startHost();
after(() => host.close());

describe("the application", () => {
  it("keeps a well-formed request id of the client, and otherwise generates one", async () => {
    const idOf = async (given?: string) => {
      const headers: HeadersInit = given === undefined ? {} : { "X-Request-Id": given };
      return (await host.request("/healthz", { headers })).headers.get("X-Request-Id");
    };
    assert.equal(await idOf("run-7.layer_3:q"), "run-7.layer_3:q");
    for (const bad of [undefined, "two words", "a".repeat(65), "{}"]) {
      assert.match((await idOf(bad))!, /^[0-9a-f-]{36}$/);
    }
  });

  it("logs one record per request", async () => {
    host.records.length = 0;
    const response = await host.send("POST", "/v1/layers?method=magnitude&effort=best", BODY, {
      "X-Request-Id": "abc",
    });
    await response.text();
    await (await host.send("POST", "/v1/layers?method=magnitude", BODY)).arrayBuffer();
    await host.request("/no/such/place");
    const [refused, solved, unmatched] = host.records;
    assert.deepEqual({ ...refused, milliseconds: 0 }, {
      event: "request",
      request_id: "abc",
      method: "POST",
      route: "/v1/layers",
      status: 400,
      code: "invalid_parameter",
      milliseconds: 0,
      bytes_in: undefined,
      bytes_out: 0,
      fault: undefined,
    });
    assert.deepEqual([solved.status, solved.code, solved.bytes_in], [200, undefined, BODY.length]);
    assert.ok((solved.bytes_out as number) > 32);
    assert.deepEqual([unmatched.route, unmatched.status], ["none", 404]);
    assert.equal(host.records.length, 3);
  });

  it("restricts what a browser may do with every answer", async () => {
    const answers = [
      await host.request("/"),
      await host.request("/healthz"),
      await host.request("/no/such/place"),
      await host.send("POST", "/v1/layers?method=magnitude", BODY),
    ];
    for (const { headers, body } of answers) {
      await body?.cancel();
      const names = ["X-Content-Type-Options", "X-Frame-Options", "Referrer-Policy"];
      assert.deepEqual(names.map((name) => headers.get(name)), ["nosniff", "DENY", "no-referrer"]);
    }
  });

  it("lists the allowed methods of a path when it answers 405", async () => {
    const response = await host.request("/v1/layers", { method: "DELETE" });
    assert.deepEqual([response.status, response.headers.get("Allow")], [405, "POST"]);
    const stored = await host.request(`/v1/hessians/sha256:${"0".repeat(64)}`, { method: "POST" });
    assert.deepEqual(stored.headers.get("Allow")!.split(", ").sort(), ["DELETE", "GET", "HEAD", "PUT"]);
  });

  it("reports that it is up, and describes its backend, queue and limits while its device can be used", async () => {
    assert.deepEqual(await (await host.request("/healthz")).json(), { status: "up" });
    const ready = await (await host.request("/readyz")).json();
    assert.deepEqual([ready.status, ready.backend, ready.queue], ["ready", "cpu", {
      waiting: 0,
      resident: 0,
    }]);
    assert.match(ready.adapter.name, /WebAssembly/);
    assert.ok(ready.limits.max_body_bytes > 0 && ready.limits.max_buffer_bytes > 0);
  });

  it("has a start page, as HTML for browsers and as plain text for others", async () => {
    const text = await host.request("/");
    assert.match(text.headers.get("Content-Type")!, /^text\/plain/);
    assert.match(await text.text(), /POST \/v1\/layers/);
    const page = await host.request("/", { headers: { Accept: "text/html,*/*" } });
    assert.match(page.headers.get("Content-Type")!, /^text\/html/);
    assert.match(await page.text(), /<code>POST \/v1\/layers<\/code>/);
  });

  it("refuses a parameter that a resource does not have, but its page ignores parameters", async () => {
    const stored = `/v1/hessians/sha256:${"0".repeat(64)}`;
    for (const path of ["/healthz", "/readyz", "/metrics", "/openapi.json", stored]) {
      const response = await host.request(`${path}?verbose=1`);
      const { code, errors } = await problemOf(response);
      assert.deepEqual([response.status, code], [400, "invalid_parameter"], path);
      assert.deepEqual(errors, [{ parameter: "verbose", detail: "is not a parameter" }]);
    }
    assert.equal((await host.request("/?verbose=1")).status, 200);
  });

  it("publishes metrics in the Prometheus text format", async () => {
    await (await host.send("POST", "/v1/layers?method=magnitude", BODY)).arrayBuffer();
    const response = await host.request("/metrics");
    assert.match(response.headers.get("Content-Type")!, /^text\/plain; version=0\.0\.4/);
    const text = await response.text();
    assert.match(text, /pare_requests_total\{route="\/v1\/layers",method="POST",status="200"\} [1-9]/);
    assert.match(text, /pare_phase_seconds_count\{method="magnitude",phase="solve"\} [1-9]/);
    for (
      const name of ["bytes_total", "queue_waiting", "layers_resident", "device_live_bytes", "store_bytes"]
    ) {
      assert.match(text, new RegExp(`^pare_${name}`, "m"), name);
    }
    assert.match(text, /^pare_device_usable 1$/m);
  });
});

describe("an internal error of the host", () => {
  it("is reported without its cause, which is only logged", async () => {
    const backend = memoryBackend();
    backend.createBuffer = () => {
      throw new TypeError("a secret of the host");
    };
    const host = await startHost({ open: () => Promise.resolve(backend) });
    const mask = bytes("U8", [2, 1], new Uint8Array(2));
    const weight = floats("F32", [2, 4], new Float32Array(8));
    const response = await host.send("POST", "/v1/layers?method=magnitude", file({ weight, mask }));
    const problem = await problemOf(response);
    assert.deepEqual([response.status, problem.code], [500, "internal"]);
    assert.doesNotMatch(JSON.stringify(problem), /secret/);
    assert.match(String(host.records[0].fault), /a secret of the host/);
    await host.close();
  });
});
