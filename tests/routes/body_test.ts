/** Tests openBodyReader(), which reads the bytes of a request body in order, from a connection and from any other stream. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { openBodyReader } from "../../routes/body.ts";

async function collect(body: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Uint8Array> {
  const reader = openBodyReader(body), parts: Uint8Array<ArrayBuffer>[] = [];
  for (let bytes = await reader.read(); bytes; bytes = await reader.read()) parts.push(bytes.slice());
  assert.equal(await reader.read(), undefined);
  await reader.cancel();
  return await new Blob(parts).bytes();
}

const pattern = (length: number) => Uint8Array.from({ length }, (_, i) => (i * 31) >> 3);

describe("openBodyReader", () => {
  it("reads bodies of all lengths from a connection", async () => {
    const lengths = [1, 65535, 65537, 2 ** 20, 3 * 2 ** 20 + 1];
    const received: Uint8Array[] = [];
    await using server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {} },
      async (request) => {
        received.push(await collect(request.body!));
        return new Response(null, { status: 204 });
      },
    );
    for (const length of lengths) {
      await fetch(`http://127.0.0.1:${server.addr.port}/`, { method: "POST", body: pattern(length) });
    }
    assert.deepEqual(received.map(({ byteLength }) => byteLength), lengths);
    received.forEach((bytes, i) => assert.ok(Buffer.from(bytes).equals(pattern(lengths[i]))));
  });

  it("reads a stream of chunks", async () => {
    const body = ReadableStream.from([pattern(3), pattern(70000)]) as ReadableStream<Uint8Array<ArrayBuffer>>;
    assert.equal((await collect(body)).byteLength, 70003);
  });

  it("reads an empty stream", async () => {
    assert.equal((await collect(new Response(new Uint8Array(0)).body!)).byteLength, 0);
  });

  it("throws the error of a broken stream, and ends when it is cancelled", async () => {
    const broken = new ReadableStream({ type: "bytes", pull: (c) => c.error(new Error("gone")) });
    await assert.rejects(openBodyReader(broken).read(), { message: "gone" });
    const reader = openBodyReader(new ReadableStream({ type: "bytes" }));
    const pendingRead = reader.read();
    await reader.cancel();
    assert.equal(await pendingRead, undefined);
    assert.equal(await reader.read(), undefined);
  });
});
