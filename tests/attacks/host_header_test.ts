/**
 * A host on loopback answers only requests whose header `Host` has one of its names. Otherwise, a page of the internet could point its own name
 * to 127.0.0.1 and use the host. A path in this header must not become a part of the routed URL.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { LogEntry } from "../../src/host/metrics.ts";
import { type Host, serve } from "../../routes/serve.ts";
import { memoryBackend } from "../host/memory_backend.ts";

/** Sends `GET target` with this Host header. Returns the status, the code of the problem, and the header lines. */
async function get({ url }: Host, header: string | undefined, target = "/healthz") {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  const hostLine = header === undefined ? "" : `Host: ${header}\r\n`;
  const text = `GET ${target} HTTP/1.1\r\n${hostLine}Connection: close\r\n\r\n`;
  await connection.write(new TextEncoder().encode(text));
  const answer = await new Response(connection.readable).text();
  const [head, body] = answer.split("\r\n\r\n");
  const code = /"code":"(\w+)"/.exec(body)?.[1];
  return { status: Number(head.split(" ", 2)[1]), code, head, answer };
}

const entries: LogEntry[] = [];
const host = await serve({
  open: () => Promise.resolve(memoryBackend()),
  port: 0,
  hostNames: ["pare.example.com"],
  log: (entry) => void entries.push(entry),
});
after(() => host.shutdown());

describe("a host on loopback", () => {
  for (
    const header of "localhost LOCALHOST:1 127.0.0.1 127.9.9.9:8000 [::1]:80 pare.example.com".split(" ")
  ) {
    it(`accepts the name ${header}`, async () => {
      const { status, head } = await get(host, header);
      assert.equal(status, 200);
      assert.match(head, /x-content-type-options: nosniff/i);
    });
  }

  const refused = [
    "evil.example",
    "localhost.evil.example",
    "localhost/../healthz",
    "localhost/v1/layers?x=",
    "localhost#",
    "localhost@evil.example",
    "evil.example, localhost",
    "a b",
    "[",
    "[::1",
    "",
    "localhost:",
    "x".repeat(4000),
  ];
  for (const header of refused) {
    it(`refuses the name "${header.slice(0, 30)}", in a short answer`, async () => {
      for (const target of ["/healthz", "/", "/v1/layers", "/no/such/place"]) {
        const { status, code, answer } = await get(host, header, target);
        assert.deepEqual([status, code], [400, "invalid_host"], target);
        assert.ok(answer.length < 1500, `${answer.length} characters`);
      }
    });
  }

  it("checks the authority of the request line as well as the header", async () => {
    assert.equal((await get(host, "localhost", "http://localhost/healthz")).status, 200);
    assert.equal((await get(host, "localhost", "http://localhost/no/such/place")).status, 404);
    for (const authority of ["evil.example", "localhost@evil.example", "evil.example:80"]) {
      const { status, code } = await get(host, "localhost", `http://${authority}/healthz`);
      assert.deepEqual([status, code], [400, "invalid_host"], authority);
    }
    assert.equal((await get(host, "evil.example", "http://localhost/healthz")).code, "invalid_host");
  });

  it("refuses a request without the header, which every version of HTTP after 1.0 requires", async () => {
    for (const target of ["/healthz", "http://localhost/healthz"]) {
      const { status, code } = await get(host, undefined, target);
      assert.deepEqual([status, code], [400, "invalid_host"], target);
    }
  });

  it("has logged every request", () => {
    assert.deepEqual(new Set(entries.map(({ event }) => event)), new Set(["listening", "request"]));
  });
});

describe("a host beyond loopback", () => {
  it("accepts every well-formed name, unless names are configured", async () => {
    const options = {
      open: () => Promise.resolve(memoryBackend()),
      keys: [{ digest: new Uint8Array(32), scopes: new Set<never>() }],
      port: 0,
      log: () => {},
    };
    const open = await serve(options), closed = await serve({ ...options, hostNames: ["pare.example.com"] });
    assert.equal((await get(open, "gpu-7.example.com")).status, 200);
    assert.equal((await get(open, "gpu-7.example.com/healthz")).code, "invalid_host");
    assert.equal((await get(closed, "gpu-7.example.com")).code, "invalid_host");
    assert.equal((await get(closed, "pare.example.com:8000")).status, 200);
    assert.equal((await get(closed, undefined)).code, "invalid_host");
    assert.equal((await get(open, undefined)).status, 200);
    await Promise.all([open.shutdown(), closed.shutdown()]);
  });
});
