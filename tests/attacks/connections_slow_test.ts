/**
 * A host survives clients that open connections and send nothing or half a header, and it survives the lack of file descriptors. The second
 * host runs in a process of its own, because the limit on file descriptors belongs to a process.
 */

import { after, describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { sleep } from "../../src/base/waiting.ts";
import { fileURLToPath } from "node:url";
import { serve } from "../../routes/serve.ts";
import type { LogEntry } from "../../src/host/metrics.ts";
import { resetConnection } from "../../scripts/soak/reset.ts";
import { memoryBackend } from "../host/memory_backend.ts";

const PROGRAM = fileURLToPath(new URL("../../src/cli/main.ts", import.meta.url));

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

const entries: LogEntry[] = [];
const host = await serve({
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
after(() => host.shutdown());

describe("a host with few connections", () => {
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
    await sleep(100);
    const busy = [];
    for (let count = 0; count < 8; count++) busy.push(await connect(host.url, head));
    await sleep(100);
    await assert.rejects(health(host.url));
    await assert.rejects(health(host.url));
    busy.forEach((connection) => connection.close());
    await sleep(200);
    assert.equal(await health(host.url), 200);
    const refusals = entries.filter(({ event }) => event === "connections refused");
    assert.deepEqual(refusals.map(({ open }) => open), [8]);
  });
});

/** Runs a host in a process with 256 file descriptors, and `use` with its URL and its process. Returns the events in its log. */
async function withFewDescriptors(
  use: (url: string, child: Deno.ChildProcess) => Promise<void>,
): Promise<string[]> {
  const child = new Deno.Command("sh", {
    args: ["-c", 'ulimit -n 256; exec "$0" run -A --quiet "$1" serve --port 0', Deno.execPath(), PROGRAM],
    env: { PARE_BACKEND: "cpu" },
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const announced = new Response(child.stdout).text();
  const reader = child.stderr.pipeThrough(new TextDecoderStream()).getReader();
  let log = "", url: string | undefined;
  const readLog = async () => {
    const { value } = await reader.read();
    log += value ?? "";
    return value !== undefined;
  };
  while (!(url = /"url":"([^"]+)"/.exec(log)?.[1])) assert.ok(await readLog(), "the host has ended");
  const rest = (async () => {
    while (await readLog());
  })();
  try {
    await use(url, child);
  } finally {
    child.kill("SIGTERM");
    await rest;
  }
  assert.equal((await child.status).code, 0);
  assert.match(await announced, /^listening on http:.*\n$/);
  return log.trimEnd().split("\n").map((line) => JSON.parse(line).event);
}

/** Opens a connection on which requests follow each other. */
async function keptConnection(url: string) {
  const connection = await connect(url), bytes = new Uint8Array(4096);
  return {
    async health(): Promise<string> {
      await connection.write(new TextEncoder().encode("GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"));
      return new TextDecoder().decode(bytes.subarray(0, await connection.read(bytes) ?? 0)).slice(0, 12);
    },
    close: () => connection.close(),
  };
}

describe("a host in a process with 256 file descriptors", () => {
  const request = { path: "/v1/layers", body: new Uint8Array(1000), answerBytes: 1 };

  it("serves requests while 400 idle connections are opened, and writes nothing but JSON to its log", async () => {
    const events = await withFewDescriptors(async (url) => {
      const connections: Deno.TcpConn[] = [];
      for (let count = 0; count < 400; count++) connections.push(await connect(url));
      assert.equal(await health(url), 200);
      connections.forEach((connection) => connection.close());
      assert.equal(await health(url), 200);
    });
    assert.ok(events.includes("connections refused"), "the process had file descriptors for all connections");
  });

  it("survives connections that are reset before it accepts them, and closes no other for them", async () => {
    const events = await withFewDescriptors(async (url, child) => {
      const kept = await keptConnection(url);
      for (let round = 0; round < 5; round++) {
        assert.equal(await kept.health(), "HTTP/1.1 200");
        child.kill("SIGSTOP");
        for (let count = 0; count < 100; count++) await resetConnection(url, "connecting", request, 0);
        child.kill("SIGCONT");
        assert.equal(await health(url), 200);
      }
      assert.equal(await kept.health(), "HTTP/1.1 200");
      kept.close();
    });
    assert.deepEqual(new Set(events), new Set(["listening", "request", "stopped"]));
  });

  it("serves every health check during 400 idle connections and a hundred resets per second", async () => {
    await withFewDescriptors(async (url) => {
      const idle: Deno.TcpConn[] = [];
      for (let count = 0; count < 400; count++) idle.push(await connect(url));
      const end = performance.now() + 3000;
      let resets = 0, checks = 0;
      const resetting = (async () => {
        for (; performance.now() < end; resets++) {
          await resetConnection(url, resets % 2 === 0 ? "connecting" : "sending", request, 0.5);
          await sleep(5);
        }
      })();
      for (; performance.now() < end; checks++) {
        assert.equal(await health(url), 200);
        await sleep(20);
      }
      await resetting;
      console.log(`${resets} resets, ${checks} health checks`);
      assert.ok(resets > 0 && checks > 0);
      idle.forEach((connection) => connection.close());
    });
  });
});
