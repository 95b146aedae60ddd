/**
 * Tests how a host registers at an edge, the public server in front of GPU hosts: its heartbeats, its behaviour without a working edge, and
 * its shutdown. The host runs over real sockets, and a server in this file plays the edge.
 */

import assert from "node:assert/strict";
import { afterEach, beforeEach, describe, it } from "@std/testing/bdd";
import type { LogEntry } from "../../src/host/metrics.ts";
import { type Host, serve } from "../../routes/serve.ts";
import { formatDigest, sha256 } from "../../src/protocol/digest.ts";
import { heartbeatSchema } from "../../src/protocol/resources/hosts.ts";
import { EDGE_AUDIENCE, NonceMemory, signTicket, verifyTicket } from "../../src/protocol/tickets.ts";
import { file, floats } from "../layer/bodies.ts";
import { startBlobServer } from "../support/blob_server.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/**
 * Heartbeats that come often and may be answered late. By default the edge must answer within the time between two heartbeats, and a busy
 * machine does not answer within 30 milliseconds, so the host would count the edge as lost.
 */
const HEARTBEATS = { heartbeatMilliseconds: 30, answerMilliseconds: 30_000 };

const SECRET = "a secret of thirty-two bytes: 123";

describe("a registered host", () => {
  let server: Deno.HttpServer<Deno.NetAddr>,
    requests: { method: string; path: string; body: Uint8Array<ArrayBuffer> }[];
  let status: number, nonces: NonceMemory, url: string;
  beforeEach(() => {
    requests = [];
    status = 204;
    nonces = new NonceMemory();
    server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, async (request) => {
      const { pathname } = new URL(request.url), { method } = request, body = await request.bytes();
      const path = pathname.replace("/base", "");
      const subject = { audience: EDGE_AUDIENCE, method, path, body };
      await verifyTicket(SECRET, request.headers.get("Authorization") ?? "", subject, Date.now(), nonces);
      requests.push({ method, path, body });
      return new Response(null, { status });
    });
    url = `http://127.0.0.1:${server.addr.port}/base`;
  });
  afterEach(() => server.shutdown());

  const start = (log: LogEntry[], blobOrigins = ["http://blobs.example"]): Promise<Host> =>
    serve({
      backend: "cpu",
      port: 0,
      log: (record) => void log.push(record),
      edge: { secret: SECRET, url, publicUrl: "https://me.example", blobOrigins, ...HEARTBEATS },
    });

  async function until(met: () => boolean): Promise<void> {
    for (let wait = 0; wait < 500 && !met(); wait++) await new Promise((resolve) => setTimeout(resolve, 10));
    assert.ok(met());
  }

  it("reports its state to the edge repeatedly, and deregisters when it stops", async () => {
    const log: LogEntry[] = [], host = await start(log);
    await until(() => requests.length >= 3);
    await host.shutdown();
    const heartbeats = requests.slice(0, -1), last = requests.at(-1)!;
    assert.deepEqual([last.method, last.path, last.body.length], ["DELETE", heartbeats[0].path, 0]);
    assert.match(last.path, /^\/v1\/hosts\/[0-9a-f-]{36}$/);
    for (const { method, body } of heartbeats) {
      assert.equal(method, "PUT");
      const { url, backend, capacity, queue, factors } = heartbeatSchema.parse(
        JSON.parse(new TextDecoder().decode(body)),
      );
      assert.deepEqual({ url, backend, capacity, queue, factors }, {
        url: "https://me.example",
        backend: "cpu",
        capacity: 3,
        queue: { waiting: 0, resident: 0 },
        factors: [],
      });
    }
    const count = requests.length;
    await new Promise((resolve) => setTimeout(resolve, 100));
    assert.equal(requests.length, count, "no request follows the deregistration");
    assert.deepEqual(log.map(({ event }) => event), ["listening", "registered", "stopped"]);
  });

  it("serves while the edge fails, and logs each change of the registration once", async () => {
    status = 503;
    const log: LogEntry[] = [], host = await start(log);
    await until(() => requests.length >= 3);
    assert.equal((await fetch(`${host.url}/healthz`)).status, 200);
    status = 204;
    await until(() => log.some(({ event }) => event === "registered"));
    await host.shutdown();
    const events = log.filter(({ event }) => event !== "request");
    assert.deepEqual(events.map(({ event }) => event), [
      "listening",
      "not registered",
      "registered",
      "stopped",
    ]);
    assert.match(String(events[1].fault), /^503/);
  });

  it("finishes its running task before it stops", async () => {
    await using store = startBlobServer();
    const weight = file({ weight: floats("F32", [8, 16], normals(8 * 16, 1)) });
    store.faults.push(async () => {
      await new Promise((resolve) => setTimeout(resolve, 200));
      return new Response(weight);
    });
    const host = await start([], [store.origin]);
    await until(() => requests.length >= 1);
    const hostId = requests[0].path.split("/").at(-1)!;
    const body = new TextEncoder().encode(JSON.stringify({
      id: "task",
      weight: { url: `${store.origin}/weight`, sha256: formatDigest(await sha256(weight)) },
      result: { url: `${store.origin}/result` },
      parameters: { method: "magnitude" },
    }));
    const ticket = await signTicket(
      SECRET,
      { audience: hostId, method: "POST", path: "/v1/tasks", body },
      Date.now(),
    );
    const headers = { Authorization: ticket, "Content-Type": "application/json" };
    const response = await fetch(`${host.url}/v1/tasks`, { method: "POST", headers, body });
    assert.deepEqual([response.status, await response.json()], [202, { state: "running" }]);
    await host.shutdown();
    assert.deepEqual(store.requests, ["GET /weight", "PUT /result"]);
  });
});
