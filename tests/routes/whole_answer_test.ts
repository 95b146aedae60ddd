/** Tests the answers that are sent as one array: which ones they are, and that they leave the device before they are sent. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { MAX_WHOLE_BYTES, UnsentAnswers } from "../../routes/whole_answer.ts";
import { serve } from "../../routes/serve.ts";
import { createCpuBackend } from "../../src/cpu/backend.ts";
import { file, floats } from "../layer/bodies.ts";
import { answerOf, safetensorsHeaders } from "./host.ts";

describe("UnsentAnswers", () => {
  it("accepts answers up to a size, and up to a sum of sizes", () => {
    const unsent = new UnsentAnswers(100), pending = new Promise(() => {});
    assert.equal(new UnsentAnswers().tryAdd(MAX_WHOLE_BYTES, pending), true);
    assert.equal(new UnsentAnswers().tryAdd(MAX_WHOLE_BYTES + 1, pending), false);
    assert.deepEqual([60, 41, 40].map((bytes) => unsent.tryAdd(bytes, pending)), [true, false, true]);
  });

  it("accepts more answers when earlier ones were taken or lost", async () => {
    for (const end of ["resolve", "reject"] as const) {
      const unsent = new UnsentAnswers(100), sent = Promise.withResolvers<void>();
      assert.equal(unsent.tryAdd(100, sent.promise), true);
      assert.equal(unsent.tryAdd(1, new Promise(() => {})), false);
      sent[end]();
      await sent.promise.catch(() => {});
      await Promise.resolve();
      assert.equal(unsent.tryAdd(100, new Promise(() => {})), true);
    }
  });

  it("does not count the answers to requests of this process", () => {
    const unsent = new UnsentAnswers(100);
    assert.deepEqual([100, 100].map((bytes) => unsent.tryAdd(bytes, undefined)), [true, true]);
  });
});

describe("a host whose client does not take its small answer", () => {
  it("frees the place of the layer on the device before the client has read anything", async () => {
    const backend = await createCpuBackend({ threads: 0 });
    const host = await serve({
      open: () => Promise.resolve(backend),
      port: 0,
      log: () => {},
      device: { maxResidentLayers: 1, queueDepth: 1 },
    });
    const rows = 1000,
      cols = 1000,
      bytes = file({ weight: floats("F32", [rows, cols], new Float32Array(rows * cols).fill(1)) });
    const { hostname, port } = new URL(host.url);
    const connection = await Deno.connect({ hostname, port: Number(port) });
    const head = "POST /v1/layers?method=magnitude HTTP/1.1\r\nHost: localhost\r\n" +
      `Content-Type: application/octet-stream\r\nContent-Length: ${bytes.length}\r\n\r\n`;
    const writer = connection.writable.getWriter();
    await writer.write(new TextEncoder().encode(head));
    await writer.write(bytes);
    // The answer to another client proves that the first answer has left the only place.
    const response = await fetch(`${host.url}/v1/layers?method=magnitude`, {
      method: "POST",
      body: bytes,
      headers: safetensorsHeaders(bytes.length),
    });
    assert.equal((await answerOf(response)).report.zeros, rows * cols / 2);
    assert.equal(backend.counters.bytesLive, 0);
    connection.close();
    await host.shutdown();
  });
});
