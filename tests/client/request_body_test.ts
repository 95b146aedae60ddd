/**
 * Tests the body of a request: that its bytes are read while they are sent, with a Content-Length and in little memory, and
 * that a runtime that looks into a Blob gets a copy.
 */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { fileURLToPath } from "node:url";
import { BodyBlob, type BodyPart } from "../../src/client/request_body.ts";
import { Transport } from "../../src/client/transport.ts";
import { FakeHost, noContent, problem } from "./fake_host.ts";

/** The size of a piece, in bytes. */
const PIECE_BYTES = 2 ** 16;

/** Returns `length` bytes that differ from piece to piece. */
const numbered = (length: number) => Uint8Array.from({ length }, (_, index) => (index * 31) >>> 8);

/** Returns bytes that are read in chunks, and counts the chunks. */
function counted(chunks: readonly Uint8Array<ArrayBuffer>[]) {
  const stored = {
    byteLength: chunks.reduce((sum, { byteLength }) => sum + byteLength, 0),
    reads: 0,
    async *chunks() {
      for (const chunk of chunks) {
        await Promise.resolve();
        stored.reads++;
        yield chunk;
      }
    },
  };
  return stored;
}

const put = (body: readonly BodyPart[]) => ({ method: "PUT", path: "/v1/things/1", body }) as const;

it("BodyBlob has the bytes of all parts in order, in pieces of at most 64 KiB, whenever it is read", async () => {
  const lengths = [0, 3, PIECE_BYTES, 2 * PIECE_BYTES + 5, 1], bytes = lengths.map(numbered);
  const blob = new BodyBlob([bytes[0], bytes[1], counted(bytes.slice(2, 4)), bytes[4]]);
  const expected = Buffer.concat(bytes);
  assert.equal(blob.size, expected.byteLength);
  for (let attempt = 0; attempt < 2; attempt++) {
    const pieces = await Array.fromAsync(blob.stream());
    assert.ok(Buffer.concat(pieces).equals(expected));
    assert.ok(pieces.every(({ byteLength }) => byteLength <= PIECE_BYTES));
  }
});

it("BodyBlob reads no more than one chunk ahead of its reader", async () => {
  const part = counted(Array(8).fill(numbered(PIECE_BYTES)));
  const reader = new BodyBlob([part]).stream().getReader();
  for (let taken = 1; taken <= 3; taken++) {
    await reader.read();
    await new Promise((resolve) => setTimeout(resolve));
    assert.equal(part.reads, taken + 1);
  }
  await reader.cancel();
  assert.equal(part.reads, 4);
});

it("Transport throws the error of a part that cannot be read, and does not repeat the request", async () => {
  const host = new FakeHost(noContent), error = new Error("the file is gone");
  let attempts = 0;
  const part = {
    byteLength: 3,
    // deno-lint-ignore require-yield
    async *chunks() {
      attempts++;
      await Promise.resolve();
      throw error;
    },
  };
  const transport = new Transport({ baseUrl: "http://fake", fetch: host.fetch, backoffMs: 1 });
  await assert.rejects(transport.send(put([part])), error);
  assert.equal(attempts, 1);
});

it("Transport refuses a part that yields fewer or more bytes than it declares, and does not repeat the request", async () => {
  for (const length of [2, 4]) {
    const host = new FakeHost(noContent), stored = counted([numbered(length)]);
    const part = { ...stored, byteLength: 3 };
    const transport = new Transport({ baseUrl: "http://fake", fetch: host.fetch, backoffMs: 1 });
    const error = { name: "RangeError", message: `request body: a part of 3 bytes has yielded ${length}` };
    await assert.rejects(transport.send(put([part, numbered(3)])), error);
    assert.equal(stored.reads, 1);
  }
});

it("Transport sends the bytes of a part where Request looks into a Blob, and reads them again for a retry", async () => {
  class LookingRequest extends Request {
    constructor(url: URL, init: RequestInit) {
      super(url, { ...init, body: Blob.prototype.slice.call(init.body) });
    }
  }
  const host = new FakeHost(problem(503, "no_device"), noContent), native = Request;
  const part = counted([numbered(3), numbered(2)]);
  globalThis.Request = LookingRequest as typeof Request;
  try {
    await new Transport({ baseUrl: "http://fake", fetch: host.fetch, backoffMs: 1 }).send(put([part]));
  } finally {
    globalThis.Request = native;
  }
  const expected = new Uint8Array([...numbered(3), ...numbered(2)]);
  assert.deepEqual(host.received.map(({ body }) => body), [expected, expected]);
  assert.equal(part.reads, 4);
});

it("a process that sends 256 MiB twice needs less than 128 MiB for it, and sends the same bytes with their length", async () => {
  const digests: string[] = [], lengths: (string | null)[] = [];
  const server = Deno.serve({ port: 0, hostname: "127.0.0.1", onListen() {} }, async ({ headers, body }) => {
    const hash = createHash("sha256");
    for await (const chunk of body!) hash.update(chunk);
    digests.push(hash.digest("hex"));
    lengths.push(headers.get("Content-Length"));
    return digests.length === 1 ? new Response(null, { status: 503 }) : new Response();
  });
  const sender = fileURLToPath(new URL("send_large_body.ts", import.meta.url));
  const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--no-check", sender, `http://127.0.0.1:${server.addr.port}`],
  }).output();
  await server.shutdown();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  assert.equal(digests.length, 2);
  assert.equal(digests[0], digests[1]);
  assert.deepEqual(lengths, [String(2 ** 28), String(2 ** 28)]);
  const growth = Number(new TextDecoder().decode(stdout));
  assert.ok(growth < 2 ** 27, `the memory has grown by ${growth} bytes`);
});
