/**
 * A host survives clients that open connections and send nothing or half a header, and it survives the lack of file descriptors. The second
 * host runs in a process of its own, because the limit on file descriptors belongs to a process.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { fileURLToPath } from "node:url";
import { type Host, serve } from "../../routes/serve.ts";
import type { LogEntry } from "../../src/host/log_entry.ts";
import { memoryBackend } from "../host/memory_backend.ts";

const PROGRAM = fileURLToPath(new URL("../../routes/serve.ts", import.meta.url));

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Opens a connection and sends `text`. */
async function connect(url: string, text = ""): Promise<Deno.TcpConn> {
  const { hostname, port } = new URL(url);
  const connection = await Deno.connect({ hostname, port: Number(port) });
  if (text !== "") await connection.write(new TextEncoder().encode(text));
  return connection;
}

/** Reads until the other side closes the connection. Returns the text. */
async function readToEnd(connection: Deno.TcpConn): Promise<string> {
  try {
    return await new Response(connection.readable).text();
  } catch {
    return "";
  }
}

async function health(url: string): Promise<number> {
  const response = await fetch(`${url}/healthz`, { headers: { Connection: "close" } });
  await response.text();
  return response.status;
}

describe("a host with few connections", () => {
  let host: Host;
  const entries: LogEntry[] = [];
  before(async () => {
    host = await serve({
      open: () => Promise.resolve(memoryBackend()),
      port: 0,
      log: (entry) => void entries.push(entry),
      connections: {
        maxConnections: 8,
        headerMilliseconds: 700,
        keepAliveMilliseconds: 1500,
        answerMilliseconds: 800,
      },
    });
  });
  after(() => host.shutdown());

  for (const [name, text] of [["nothing", ""], ["half a header", "GET /healthz HT"]]) {
    it(`closes a connection that sends ${name}`, async () => {
      const started = performance.now();
      assert.equal(await readToEnd(await connect(host.url, text)), "");
      const milliseconds = performance.now() - started;
      assert.ok(milliseconds > 500 && milliseconds < 1500, `${milliseconds} ms`);
    });
  }

  it("keeps a connection open after a request, and closes it when no other follows", async () => {
    const started = performance.now();
    const connection = await connect(host.url, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert.match(await readToEnd(connection), /^HTTP\/1\.1 200/);
    const milliseconds = performance.now() - started;
    assert.ok(milliseconds > 1400 && milliseconds < 2500, `${milliseconds} ms`);
  });

  it("closes a connection whose client requests again and again but takes no answer", async () => {
    const connection = await connect(host.url);
    const requests = new TextEncoder().encode(
      "GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000),
    );
    const writer = connection.writable.getWriter();
    writer.closed.catch(() => {});
    const started = performance.now();
    // The system takes a few megabytes of answers. Then the host reads no more requests, and the connection is idle.
    const error = await (async () => {
      for (let count = 0; count < 1000; count++) await writer.write(requests);
    })().catch((error) => error);
    assert.ok(error instanceof Error, "the host has read a million requests");
    const milliseconds = performance.now() - started;
    assert.ok(milliseconds < 5000, `${milliseconds} ms`);
  });

  it("closes the connection that was idle longest when there are too many", async () => {
    const idle = [];
    for (let count = 0; count < 30; count++) idle.push(await connect(host.url));
    assert.equal(await health(host.url), 200);
    idle.forEach((connection) => connection.close());
  });

  it("refuses connections while all others have requests, and says so once in its log", async () => {
    const head = "POST /v1/layers HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/octet-stream\r\n" +
      "Content-Length: 1000\r\n\r\n";
    await pause(100);
    const busy = [];
    for (let count = 0; count < 8; count++) busy.push(await connect(host.url, head));
    await pause(100);
    await assert.rejects(health(host.url));
    await assert.rejects(health(host.url));
    busy.forEach((connection) => connection.close());
    await pause(200);
    assert.equal(await health(host.url), 200);
    const refusals = entries.filter(({ event }) => event === "connections refused");
    assert.deepEqual(refusals.map(({ open }) => open), [8]);
  });
});

describe("a host in a process with 256 file descriptors", () => {
  it("serves requests while 400 idle connections are opened, and writes nothing but JSON to its log", async () => {
    const child = new Deno.Command("sh", {
      args: ["-c", 'ulimit -n 256; exec "$0" run -A --quiet "$1"', Deno.execPath(), PROGRAM],
      env: { PARE_BACKEND: "cpu", PARE_PORT: "0" },
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    const errors = new Response(child.stderr).text();
    const reader = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    let output = "";
    while (!output.includes("\n")) output += (await reader.read()).value ?? assert.fail("the host has ended");
    const { url } = JSON.parse(output.split("\n")[0]);
    const connections: Deno.TcpConn[] = [];
    for (let count = 0; count < 400; count++) connections.push(await connect(url));
    assert.equal(await health(url), 200);
    connections.forEach((connection) => connection.close());
    assert.equal(await health(url), 200);
    child.kill("SIGTERM");
    for (let next = await reader.read(); !next.done; next = await reader.read()) output += next.value;
    assert.equal((await child.status).code, 0);
    const events = output.trimEnd().split("\n").map((line) => JSON.parse(line).event);
    assert.ok(events.includes("connections refused"), "the process had file descriptors for all connections");
    assert.equal(await errors, "");
  });
});
