/** Tests transfers: reads in several chunks, writes from shared memory, and empty ranges. */

import { deepStrictEqual, strictEqual } from "node:assert/strict";
import { it } from "@std/testing/bdd";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { webgpuSuite } from "./suite.ts";

const CHUNK = 64 * 1024;

function randomBytes(count: number, seed: number): Uint8Array<ArrayBuffer> {
  const next = uniform(seed);
  return Uint8Array.from({ length: count }, () => next() * 256);
}

webgpuSuite("transfers on webgpu", (backend) => {
  for (const length of [4, CHUNK - 4, CHUNK, CHUNK + 4, 3 * CHUNK, 5 * CHUNK + 12]) {
    it(`read ${length} bytes from an offset in chunks of ${CHUNK}`, async () => {
      const bytes = randomBytes(length + 8, length);
      const buffer = backend().createBuffer("source", bytes.byteLength);
      backend().write(buffer, 0, bytes);
      const read = await backend().read(buffer, 8, length);
      deepStrictEqual(read, bytes.subarray(8));
      strictEqual(read.byteOffset, 0);
      buffer.destroy();
    });
  }

  it("read several buffers concurrently", async () => {
    const all = [1, 2, 3].map((seed) => randomBytes(3 * CHUNK, seed));
    const buffers = all.map((bytes) => {
      const buffer = backend().createBuffer("source", bytes.byteLength);
      backend().write(buffer, 0, bytes);
      return buffer;
    });
    deepStrictEqual(await Promise.all(buffers.map((buffer) => backend().read(buffer, 0, 3 * CHUNK))), all);
    for (const buffer of buffers) buffer.destroy();
  });

  it("write from shared memory", async () => {
    const bytes = randomBytes(1024, 5);
    const shared = new Uint8Array(new SharedArrayBuffer(1024));
    shared.set(bytes);
    const buffer = backend().createBuffer("target", 1024);
    backend().write(buffer, 0, shared);
    shared.fill(0);
    deepStrictEqual(await backend().read(buffer, 0, 1024), bytes);
    buffer.destroy();
  });

  it("accept empty ranges", async () => {
    const buffer = backend().createBuffer("empty", 0);
    backend().write(buffer, 0, new Uint8Array(0));
    deepStrictEqual(await backend().read(buffer, 4, 0), new Uint8Array(0));
    buffer.destroy();
  });

  it("write more bytes than one chunk of staging memory", async () => {
    const bytes = new Uint8Array(96 * 2 ** 20);
    const ends = [0, 64 * 2 ** 20 - 4, 64 * 2 ** 20, bytes.length - 4];
    ends.forEach((at, i) => bytes[at] = i + 1);
    const buffer = backend().createBuffer("large", bytes.byteLength);
    backend().write(buffer, 0, bytes);
    for (const [i, at] of ends.entries()) strictEqual((await backend().read(buffer, at, 4))[0], i + 1);
    buffer.destroy();
  });
}, { readChunkBytes: CHUNK });
