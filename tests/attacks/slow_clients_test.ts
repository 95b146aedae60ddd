/**
 * Slow clients cannot hold a host. The times of these hosts are a fiftieth of the defaults, so that the tests are short: bodies are measured
 * over 0.3 s instead of 15 s, and a request may wait for 2.4 s instead of 120 s.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { settlesWithin, sleep } from "../../src/base/waiting.ts";
import { createCpuBackend } from "../../src/device/cpu/backend.ts";
import type { Backend } from "../../src/device/backend.ts";
import { DEFAULT_CONNECTION_LIMITS } from "../../src/host/listener.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import {
  ANSWER_WINDOW_SECONDS,
  BODY_WINDOW_SECONDS,
  LEAST_BYTES_PER_SECOND,
  QUEUE_SECONDS,
} from "../../src/protocol/limits.ts";
import { type Host, serve, type ServeOptions } from "../../routes/serve.ts";
import { file, floats } from "../layer/bodies.ts";
import { answerOf, safetensorsHeaders } from "../routes/host.ts";

/** Milliseconds of a test per second of the defaults. */
const SCALE = 20;

const LIMITS = {
  leastBytesPerSecond: LEAST_BYTES_PER_SECOND * 1000 / SCALE,
  bodyWindowMilliseconds: BODY_WINDOW_SECONDS * SCALE,
  answerWindowMilliseconds: ANSWER_WINDOW_SECONDS * SCALE,
};

/** The time within which a host serves an honest client, however many slow ones there are. A full queue of them takes 7 times 15 s. */
const DEADLINE = QUEUE_SECONDS * SCALE;

const LAYER = file({ weight: floats("F32", [8, 16], new Float32Array(128).fill(1)) });

async function start(
  options: ServeOptions = {},
): Promise<{ host: Host; backend: Backend; entries: LogEntry[] }> {
  const backend = await createCpuBackend({ threads: 0 }), entries: LogEntry[] = [];
  const host = await serve({
    open: () => Promise.resolve(backend),
    port: 0,
    log: (entry) => void entries.push(entry),
    limits: LIMITS,
    device: { queueMilliseconds: QUEUE_SECONDS * SCALE },
    ...options,
  });
  return { host, backend, entries };
}

const prune = (host: Host) =>
  fetch(`${host.url}/v1/layers?method=magnitude`, {
    method: "POST",
    body: LAYER,
    headers: safetensorsHeaders(LAYER.length),
  });

/** Opens a connection and sends `text`. */
async function connect({ url }: Host, text: string): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  await connection.write(new TextEncoder().encode(text));
  return connection;
}

/** Opens a connection, and sends the header of a layer and the first bytes of its body. */
async function sendPart(host: Host, bodyBytes: number): Promise<Deno.TcpConn> {
  const connection = await connect(
    host,
    "POST /v1/layers?method=magnitude HTTP/1.1\r\nHost: localhost\r\n" +
      `Content-Type: application/octet-stream\r\nContent-Length: ${LAYER.length}\r\n\r\n`,
  );
  await connection.write(LAYER.subarray(0, bodyBytes));
  return connection;
}

/** Sends the beginning of a layer, and then one byte every 50 ms. Returns the answer. */
async function trickle(host: Host): Promise<string> {
  const connection = await sendPart(host, 0);
  let sent = 0;
  const timer = setInterval(() => {
    connection.write(LAYER.subarray(sent, ++sent)).catch(() => clearInterval(timer));
  }, 50);
  const answer = new Uint8Array(4096);
  const length = await connection.read(answer).catch(() => 0);
  clearInterval(timer);
  connection.close();
  return new TextDecoder().decode(answer.subarray(0, length ?? 0));
}

describe("a host with slow clients", () => {
  it("serves an honest client within the deadline, although 19 others fill its places and its queue", async () => {
    const { host, backend } = await start();
    const slow = Array.from({ length: 19 }, () => trickle(host));
    await sleep(50);
    const started = performance.now();
    let response = await prune(host), refusals = 0;
    for (; response.status === 429; response = await prune(host)) {
      assert.match(response.headers.get("Retry-After")!, /^[1-9]\d*$/);
      await response.body?.cancel();
      refusals++;
      await sleep(20);
    }
    assert.equal((await answerOf(response)).report.zeros, 64);
    assert.ok(refusals > 0, "the queue was not full");
    const milliseconds = performance.now() - started;
    assert.ok(milliseconds < DEADLINE, `${milliseconds} ms`);
    for (const answer of await Promise.all(slow)) {
      assert.match(answer, /^HTTP\/1\.1 408[^]*"code":"too_slow"/);
    }
    assert.equal(backend.counters.bytesLive, 0);
    await host.shutdown();
  });

  it("ends the answer of a client that reads nothing as soon as another needs its place, and not before", async () => {
    const { host, backend } = await start({ device: { maxResidentLayers: 1, queueDepth: 1 } });
    const large = file({ weight: floats("F32", [4096, 4096], new Float32Array(2 ** 24).fill(1)) });
    const init = { method: "POST", body: large, headers: safetensorsHeaders(large.length) };
    const stalled = await fetch(`${host.url}/v1/layers?method=magnitude`, init);
    await sleep(2 * LIMITS.answerWindowMilliseconds);
    assert.ok(backend.counters.bytesLive > 0, "the answer has ended early");
    assert.equal((await answerOf(await prune(host))).report.zeros, 64);
    await assert.rejects(stalled.arrayBuffer());
    await host.shutdown();
  });

  it("frees the place of a small layer before its client has read anything", async () => {
    const { host, backend } = await start({ device: { maxResidentLayers: 1, queueDepth: 1 } });
    const small = file({ weight: floats("F32", [1000, 1000], new Float32Array(10 ** 6).fill(1)) });
    const { hostname, port } = new URL(host.url);
    const connection = await Deno.connect({ hostname, port: Number(port) });
    const writer = connection.writable.getWriter();
    const head = "POST /v1/layers?method=magnitude HTTP/1.1\r\nHost: localhost\r\n" +
      `Content-Type: application/octet-stream\r\nContent-Length: ${small.length}\r\n\r\n`;
    await writer.write(new TextEncoder().encode(head));
    await writer.write(small);
    // The answer to another client shows that the first layer has left the only place.
    assert.equal((await answerOf(await prune(host))).report.zeros, 64);
    assert.equal(backend.counters.bytesLive, 0);
    connection.close();
    await host.shutdown();
  });

  it("holds at most 64 MiB of small answers, and leaves further ones on the device", async () => {
    const { host, backend, entries } = await start({ limits: {} });
    const requests = [850, 1000].flatMap((rows) => {
      const body = file({ weight: floats("F32", [rows, rows], new Float32Array(rows * rows).fill(1)) });
      const head = "POST /v1/layers?method=magnitude HTTP/1.1\r\nHost: localhost\r\n" +
        `Content-Type: application/octet-stream\r\nContent-Length: ${body.length}\r\n\r\n`;
      return [new TextEncoder().encode(head), body];
    });
    const answered = () => entries.filter(({ route }) => route === "/v1/layers").length;
    const connections: Deno.TcpConn[] = [];
    // The system takes the first answer of each connection, and a part of the second. The second has 4.1 MB, so 16 of them are allowed.
    for (let count = 0; count < 18; count++) {
      if (count < 15) assert.equal(backend.counters.bytesLive, 0, `${count} answers`);
      const connection = await connect(host, "");
      connections.push(connection);
      const writer = connection.writable.getWriter();
      for (const part of requests) await writer.write(part);
      while (answered() < 2 * count + 2) await sleep(10);
    }
    assert.ok(backend.counters.bytesLive > 0, "the host holds all answers in memory");
    connections.forEach((connection) => connection.close());
    await host.shutdown();
  });

  it("ends a connection with the answer 408", async () => {
    const { host } = await start();
    const answer = await new Response((await sendPart(host, LAYER.length - 1)).readable).text();
    assert.match(answer, /^HTTP\/1\.1 408[^]*\r\nconnection: close\r\n/i);
    await host.shutdown();
  });

  it("shuts down soon, long before its drain time of 540 s, although clients stop in the middle of requests", async () => {
    const { host, entries } = await start({
      connections: {
        headerMilliseconds: DEFAULT_CONNECTION_LIMITS.headerMilliseconds * SCALE / 1000,
        keepAliveMilliseconds: DEFAULT_CONNECTION_LIMITS.keepAliveMilliseconds * SCALE / 1000,
      },
    });
    const halfSent = await sendPart(host, LAYER.length / 2), headerOnly = await sendPart(host, 0);
    const halfHeader = await connect(host, "POST /v1/lay"), silent = await connect(host, "");
    const trickling = setInterval(() => headerOnly.write(new Uint8Array(1)).catch(() => {}), 50);
    await sleep(50);
    assert.ok(await settlesWithin(host.shutdown(), 5000), "the host is still running after 5 s");
    clearInterval(trickling);
    for (const connection of [halfSent, headerOnly, halfHeader, silent]) connection.close();
    assert.deepEqual(entries.map(({ event }) => event), ["listening", "request", "request", "stopped"]);
  });

  it("shuts down within the drain time, although a client is still sending its body", async () => {
    const { host, entries } = await start({ drainMilliseconds: 300, limits: {} });
    const slow = trickle(host);
    await sleep(100);
    const started = performance.now();
    await host.shutdown();
    const milliseconds = performance.now() - started;
    assert.ok(milliseconds >= 290 && milliseconds < 1300, `${milliseconds} ms`);
    await slow;
    assert.deepEqual(entries.map(({ event }) => event), ["listening", "aborted", "request", "stopped"]);
  });
});
