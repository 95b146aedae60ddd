/**
 * Tests the safetensors reader. A file must give the same tensors however it is divided into chunks. A
 * truncated file must be reported wherever it ends.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode, type DecodeOptions, openSafetensors } from "../../../src/tensor/safetensors/decode.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { SafetensorsError } from "../../../src/tensor/safetensors/error.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

const FILE = encode({
  weight: { dtype: "F32", shape: [2, 3], data: Uint8Array.from({ length: 24 }, (_, i) => i + 1) },
  empty: { dtype: "F16", shape: [0, 5], data: new Uint8Array(0) },
  mask: { dtype: "U8", shape: [5], data: Uint8Array.of(101, 102, 103, 104, 105) },
}, { report: "{}" });
const WHOLE = decode(FILE);

/** A byte source that counts how often a chunk was requested (`pulled`) and how often the source was closed (`returned`). */
class Source implements AsyncIterable<Uint8Array> {
  returned = 0;
  pulled = 0;
  constructor(readonly pieces: readonly Uint8Array[]) {}
  [Symbol.asyncIterator](): AsyncIterator<Uint8Array> {
    return {
      next: () => {
        const value = this.pieces[this.pulled++];
        return Promise.resolve(value === undefined ? { done: true, value } : { done: false, value });
      },
      return: () => {
        this.returned++;
        return Promise.resolve({ done: true, value: undefined });
      },
    };
  }
}

/** Splits the bytes of a file at the offsets `cuts`. */
function splitAt(file: Uint8Array, cuts: readonly number[]): Uint8Array[] {
  const ends = [...cuts, file.byteLength];
  return ends.map((end, i) => file.subarray(i === 0 ? 0 : ends[i - 1], end));
}

/** Reads the whole source and joins the chunks of each tensor, and checks that the chunks arrive in order. */
async function collect(source: AsyncIterable<Uint8Array>, options?: DecodeOptions) {
  const { header, chunks } = await openSafetensors(source, options);
  const data = new Map<string, number[]>(header.tensors.map(({ name }) => [name, []]));
  for await (const { tensor, offset, bytes } of chunks()) {
    const soFar = data.get(tensor.name)!;
    assert.equal(offset, soFar.length);
    assert.ok(bytes.byteLength > 0);
    soFar.push(...bytes);
  }
  return { header, data };
}

async function assertSameAsWhole(pieces: readonly Uint8Array[]) {
  const { header, data } = await collect(new Source(pieces), { totalBytes: FILE.byteLength });
  assert.deepEqual(header, WHOLE.header);
  for (const [name, tensor] of WHOLE.tensors) assert.deepEqual(data.get(name), [...tensor.data]);
}

describe("openSafetensors", () => {
  it("reads a file that is split into two chunks at any byte", async () => {
    for (let cut = 0; cut <= FILE.byteLength; cut++) await assertSameAsWhole(splitAt(FILE, [cut]));
  });

  it("reads a file that is split at random, into empty chunks and into single bytes", async () => {
    const next = uniform(11);
    for (let round = 0; round < 200; round++) {
      const cuts = Array.from({ length: round }, () => Math.floor(next() * (FILE.byteLength + 1)));
      await assertSameAsWhole(splitAt(FILE, cuts.sort((a, b) => a - b)));
    }
    await assertSameAsWhole(Array.from(FILE, (byte) => Uint8Array.of(byte)));
  });

  it("reads a ReadableStream", async () => {
    const { data } = await collect(new Response(FILE).body!);
    assert.deepEqual(data.get("mask"), [101, 102, 103, 104, 105]);
  });

  it("returns views of the chunks of the source", async () => {
    const { chunks } = await openSafetensors(new Source([FILE]));
    for await (const { bytes } of chunks()) assert.equal(bytes.buffer, FILE.buffer);
  });

  it("pulls no more chunks than it needs", async () => {
    const source = new Source(splitAt(FILE, [8, WHOLE.header.headerBytes, WHOLE.header.headerBytes + 4]));
    const { chunks } = await openSafetensors(source);
    assert.equal(source.pulled, 2);
    const iterator = chunks();
    await iterator.next();
    assert.equal(source.pulled, 3);
  });

  it("reports the actual and the needed length of a file that is truncated at any byte", async () => {
    const { headerBytes } = WHOLE.header;
    for (let length = 0; length < FILE.byteLength; length++) {
      const expected = length < 8 ? 8 : length < headerBytes ? headerBytes : FILE.byteLength;
      const tensor = length < headerBytes ? undefined : length < headerBytes + 24 ? "weight" : "mask";
      const message = new RegExp(`ends at byte ${length} but needs ${expected}$`);
      const isTruncated = (error: unknown) =>
        error instanceof SafetensorsError && error.kind === "truncated" && error.byte === length &&
        message.test(error.message);
      await assert.rejects(
        collect(new Source(splitAt(FILE.subarray(0, length), [length >> 1]))),
        (error) => isTruncated(error) && (error as SafetensorsError).tensor === tensor,
      );
      assert.throws(() => decode(FILE.subarray(0, length)), isTruncated);
    }
  });

  it("refuses bytes after the last tensor, in the same chunk or in a later one", async () => {
    const long = new Uint8Array([...FILE, 0]);
    for (const pieces of [[long], [FILE, new Uint8Array(0), Uint8Array.of(0)]]) {
      const source = new Source(pieces);
      await assert.rejects(collect(source), { kind: "malformed", byte: FILE.byteLength });
      assert.equal(source.returned, 1);
    }
  });

  it("refuses a header that contradicts the known file length before it reads any data", async () => {
    for (const [wrong, kind] of [[-1, "truncated"], [1, "malformed"]] as const) {
      const source = new Source(splitAt(FILE, [WHOLE.header.headerBytes]));
      const totalBytes = FILE.byteLength + wrong;
      await assert.rejects(openSafetensors(source, { totalBytes }), { kind });
      assert.deepEqual([source.pulled, source.returned], [1, 1]);
    }
    await assert.rejects(openSafetensors(new Source([FILE]), { totalBytes: 20 }), {
      kind: "truncated",
      byte: 20,
    });
  });

  it("refuses a header that is longer than maxHeaderBytes", async () => {
    const maxHeaderBytes = WHOLE.header.headerBytes - 9;
    await assert.rejects(openSafetensors(new Source([FILE]), { maxHeaderBytes }), { kind: "malformed" });
    assert.throws(() => decode(FILE, { maxHeaderBytes }), { kind: "malformed" });
    assert.doesNotThrow(() => decode(FILE, { maxHeaderBytes: maxHeaderBytes + 1 }));
  });
});

describe("the source of openSafetensors", () => {
  it("is not closed if it was read to the end", async () => {
    const source = new Source([FILE]);
    await collect(source);
    assert.equal(source.returned, 0);
  });

  it("is closed if the loop over the chunks is left early", async () => {
    const source = new Source([FILE, FILE]);
    const { chunks } = await openSafetensors(source);
    for await (const _ of chunks()) break;
    assert.equal(source.returned, 1);
  });

  it("is closed by close() if the chunks were never read, and a second close() does nothing", async () => {
    let cancelled = false;
    const stream = new ReadableStream<Uint8Array>({
      start: (controller) => controller.enqueue(FILE),
      cancel: () => void (cancelled = true),
    });
    const file = await openSafetensors(stream);
    await file.close();
    await file.close();
    assert.ok(cancelled);
  });

  it("is closed if the header is refused", async () => {
    const source = new Source([new Uint8Array(64).fill(0xff)]);
    await assert.rejects(openSafetensors(source), { kind: "malformed" });
    assert.equal(source.returned, 1);
  });

  it("passes its own errors to the caller unchanged", async () => {
    const failure = new Error("connection reset");
    for (const length of [4, 20, FILE.byteLength - 2]) {
      const failing = (async function* () {
        yield FILE.subarray(0, length);
        throw failure;
      })();
      await assert.rejects(collect(failing), (error) => error === failure);
    }
  });

  it("can be read only once", async () => {
    const { chunks } = await openSafetensors(new Source([FILE]));
    chunks();
    assert.throws(chunks, TypeError);
  });
});

describe("decode", () => {
  it("returns views of the file, in the order of the data", () => {
    assert.deepEqual([...WHOLE.tensors.keys()], ["weight", "empty", "mask"]);
    for (const { data } of WHOLE.tensors.values()) assert.equal(data.buffer, FILE.buffer);
    assert.deepEqual(WHOLE.tensors.get("empty"), { dtype: "F16", shape: [0, 5], data: new Uint8Array(0) });
  });

  it("reads a file that is part of a larger buffer", () => {
    const buffer = new Uint8Array([7, 7, 7, ...FILE, 7]);
    assert.deepEqual(decode(buffer.subarray(3, -1)), WHOLE);
  });

  it("reads a checkpoint that the reference implementation wrote", () => {
    const url = new URL("../../fixtures/models/opt-sotu/model.safetensors", import.meta.url);
    const { header, tensors } = decode(Deno.readFileSync(url));
    assert.deepEqual(header.metadata, { format: "pt" });
    assert.deepEqual(tensors.get("model.decoder.embed_tokens.weight")?.shape, [2048, 192]);
  });
});
