/** Tests the host over a real socket: streaming, content lengths, clients that disconnect, health checks during a solve, and shutdown. */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import type { Backend } from "../../src/device/backend.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import type { HostTensor } from "../../src/tensor/host_tensor.ts";
import { sleep } from "../../src/base/waiting.ts";
import { freePort } from "../../scripts/processes/child_edge.ts";
import { serve } from "../../routes/serve.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { webgpuSkipReason } from "../support/backends.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { file, floats } from "../layer/bodies.ts";
import { memoryBackend } from "../host/memory_backend.ts";
import { answerOf, safetensorsHeaders } from "./host.ts";

/** The time within which `/healthz` must answer, whatever the device does. */
const HEALTH_MILLISECONDS = 50;

function dominantDiagonal(n: number): HostTensor {
  const values = new Float32Array(n * n).fill(0.01);
  for (let i = 0; i < n; i++) values[i * n + i] = 1 + i / n;
  return floats("F32", [n, n], values);
}

const backend = await createCpuBackend();
const host = await serve({
  open: () => Promise.resolve(backend),
  port: 0,
  log: () => {},
  limits: { bodyWindowMilliseconds: 2000, answerPatienceMilliseconds: 2000 },
});
after(() => host.shutdown());

describe("serve", () => {
  const post = (body: Uint8Array<ArrayBuffer>, init: RequestInit = {}) =>
    fetch(`${host.url}/v1/layers`, {
      method: "POST",
      body,
      headers: safetensorsHeaders(body.length),
      ...init,
    });

  async function assertFreed(live: number) {
    for (let wait = 0; wait < 200 && backend.counters.bytesLive !== live; wait++) {
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    assert.equal(backend.counters.bytesLive, live);
  }

  it("streams a layer in and out, with the right Content-Length", async () => {
    const rows = 700, n = 1024, live = backend.counters.bytesLive;
    const body = file({
      weight: floats("F32", [rows, n], normals(rows * n, 1)),
      hessian: dominantDiagonal(n),
    });
    const response = await post(body);
    const length = Number(response.headers.get("Content-Length"));
    const { body: answer, report } = await answerOf(response);
    assert.equal(answer.length, length);
    assert.equal(report.zeros, rows * n / 2);
    await assertFreed(live);
  });

  it("refuses a request of the wrong media type without waiting for its body", async () => {
    const body = new Uint8Array(64 * 2 ** 20);
    const response = await post(body, { headers: { "Content-Type": "text/plain" } });
    assert.equal(response.status, 415);
    await response.text();
    assert.equal((await fetch(`${host.url}/healthz`)).status, 200);
  });

  it("refuses a chunked body", async () => {
    const stream = new Blob([file({ weight: floats("F32", [1, 1], new Float32Array(1)) })]).stream();
    const response = await fetch(`${host.url}/v1/layers`, {
      method: "POST",
      body: stream,
      headers: { "Content-Type": "application/vnd.safetensors" },
    });
    assert.equal((await response.json()).code, "length_required");
  });

  it("frees a layer whose client disconnects in the middle of the body", async () => {
    const live = backend.counters.bytesLive;
    const body = file({
      weight: floats("F32", [512, 512], normals(512 * 512, 2)),
      hessian: dominantDiagonal(512),
    });
    const { hostname, port } = new URL(host.url);
    const connection = await Deno.connect({ hostname, port: Number(port) });
    const head =
      `POST /v1/layers HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: application/octet-stream\r\n` +
      `Content-Length: ${body.length}\r\n\r\n`;
    await connection.write(new TextEncoder().encode(head));
    const writer = connection.writable.getWriter();
    await writer.write(body.subarray(0, 1_200_000));
    await new Promise((resolve) => setTimeout(resolve, 50));
    assert.ok(backend.counters.bytesLive > live);
    writer.releaseLock();
    connection.close();
    await assertFreed(live);
  });

  it("frees a layer whose client disconnects in the middle of the answer", async () => {
    const n = 2048, live = backend.counters.bytesLive;
    const body = file({ weight: floats("F32", [4096, n], new Float32Array(4096 * n).fill(1)) });
    const clientAbort = new AbortController();
    const response = await fetch(`${host.url}/v1/layers?method=magnitude`, {
      method: "POST",
      body,
      headers: safetensorsHeaders(body.length),
      signal: clientAbort.signal,
    });
    const reader = response.body!.getReader();
    await reader.read();
    assert.ok(backend.counters.bytesLive > live);
    clientAbort.abort();
    await assert.rejects(reader.closed);
    await assertFreed(live);
  });
});

for (const [backend, n, skip] of [["cpu", 2048, undefined], ["webgpu", 1024, webgpuSkipReason]] as const) {
  describe(`a host that solves a ${n}×${n} layer on ${backend}`, () => {
    it("answers health checks within 50 ms", { skip }, async () => {
      const host = await serve({ backend, port: 0, log: () => {} });
      const body = file({ weight: floats("F32", [n, n], normals(n * n, 3)), hessian: dominantDiagonal(n) });
      let solving = true;
      const solve = fetch(`${host.url}/v1/layers`, {
        method: "POST",
        body,
        headers: safetensorsHeaders(body.length),
      }).then(answerOf).finally(() => void (solving = false));
      const times: number[] = [];
      while (solving) {
        const start = performance.now();
        const response = await fetch(`${host.url}/healthz`);
        await response.text();
        times.push(performance.now() - start);
        await new Promise((resolve) => setTimeout(resolve, 5));
      }
      await solve;
      await host.shutdown();
      times.sort((a, b) => a - b);
      // The test encodes the body and checks the answer on this thread too, which delays some health checks. So only the median counts.
      assert.ok(times.length > 20, `${times.length} answers`);
      assert.ok(times[times.length >> 1] < HEALTH_MILLISECONDS, `median ${times[times.length >> 1]} ms`);
    });
  });
}

describe("the life cycle of a host", () => {
  it("finishes a layer that is still being received when it shuts down, and refuses new ones", async () => {
    const backend = await createCpuBackend();
    const events: string[] = [];
    const host = await serve({
      open: () => Promise.resolve(backend),
      port: 0,
      log: ({ event }) => void events.push(event),
    });
    const n = 256, weight = floats("F32", [n, n], normals(n * n, 4));
    const hessian = floats("F32", [n, n], correlatedHessian(n, { seed: 4 }));
    const body = file({ weight, hessian });
    const { hostname, port } = new URL(host.url);
    const connection = await Deno.connect({ hostname, port: Number(port) });
    const writer = connection.writable.getWriter();
    const head =
      `POST /v1/layers HTTP/1.1\r\nHost: ${hostname}\r\nContent-Type: application/octet-stream\r\n` +
      `Content-Length: ${body.length}\r\nConnection: close\r\n\r\n`;
    await writer.write(new TextEncoder().encode(head));
    await writer.write(body.subarray(0, 300_000));
    while (backend.counters.bytesLive === 0) await new Promise((resolve) => setTimeout(resolve, 1));

    const ended = host.shutdown();
    const refused = await fetch(`${host.url}/v1/layers`, {
      method: "POST",
      body,
      headers: safetensorsHeaders(body.length),
    });
    assert.match(refused.headers.get("Retry-After")!, /^[1-9]\d*$/);
    assert.deepEqual([refused.status, (await refused.json()).code], [503, "shutting_down"]);
    await writer.write(body.subarray(300_000));
    const answer = await new Response(connection.readable).bytes();
    const end = new TextDecoder("latin1").decode(answer).indexOf("\r\n\r\n");
    assert.match(new TextDecoder().decode(answer.subarray(0, end)), /^HTTP\/1\.1 200/);
    assert.equal((await answerOf(new Response(answer.subarray(end + 4)))).report.zeros, n * n / 2);
    await ended;
    assert.deepEqual(events, ["listening", "request", "request", "stopped"]);
    await assert.rejects(fetch(host.url));
    await host.shutdown();
  });

  it("listens while its device is opened and checked", async () => {
    const opening = Promise.withResolvers<Backend>(), port = freePort();
    const starting = serve({ open: () => opening.promise, port, log: () => {} });
    const ping = async (): Promise<number> => {
      const response = await fetch(`http://127.0.0.1:${port}/ping`).catch(() => sleep(10));
      if (!response) return await ping(); // the host does not listen yet
      await response.body?.cancel();
      return response.status;
    };
    assert.equal(await ping(), 204);
    opening.resolve(memoryBackend());
    const host = await starting;
    assert.equal(await ping(), 200);
    await host.shutdown();
  });

  it("ends, and frees its port, if it requires a GPU and its device cannot be opened", async () => {
    const port = freePort(), open = () => Promise.reject(new Error("the adapter is emulated"));
    const options = { port, log: () => {} };
    await assert.rejects(serve({ ...options, open, requireGpu: true }), {
      code: "no_device",
      message: "the adapter is emulated",
    });
    const host = await serve({ ...options, open: () => Promise.resolve(memoryBackend()) });
    await host.shutdown();
  });

  it("listens on loopback without keys, and refuses every other address", async () => {
    const logged: unknown[] = [];
    const options = {
      open: () => Promise.resolve(memoryBackend()),
      port: 0,
      log: ({ auth, hostname }: LogEntry) => void logged.push(hostname, auth),
    };
    const host = await serve(options);
    assert.equal(new URL(host.url).hostname, "127.0.0.1");
    assert.deepEqual(logged.slice(0, 2), ["127.0.0.1", "no keys are set: listening on loopback only"]);
    await host.shutdown();
    for (const hostname of ["0.0.0.0", "::", "10.0.0.7", "gpu.example"]) {
      await assert.rejects(
        serve({ ...options, hostname }),
        new RangeError(
          `address ${hostname}: a host without API keys listens on loopback only. Set PARE_KEYS`,
        ),
      );
    }
  });
});
