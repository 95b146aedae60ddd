/**
 * Fuzzes the safetensors reader with random mutations of a valid file, from a fixed seed. Every mutated file
 * must either be read or be refused with a SafetensorsError. The outcome must be the same whether the file is
 * in memory or arrives as a stream. A file that can be read must survive a round trip through the writer.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode, openSafetensors } from "../../../src/tensor/safetensors/decode.ts";
import { encode } from "../../../src/tensor/safetensors/encode.ts";
import { SafetensorsError } from "../../../src/tensor/safetensors/error.ts";
import { rawFile } from "../../attacks/safetensors/raw_file.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

const ROUNDS = 4000;
const HEADER = '{"__metadata__":{"k":"v"},"weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},' +
  '"mask":{"dtype":"U8","shape":[5],"data_offsets":[24,29]},"t":{"dtype":"I64","shape":[0],"data_offsets":[29,29]}}';
const DATA_BYTES = 29;
// deno-fmt-ignore
const PIECES = [
  '"', "{", "}", "[", "]", ",", ":", "\\", "\\u0074", "-", "0", "1e400", "9".repeat(20), "null", "true",
  '"t"', '"t":', '"__proto__":', '"__metadata__":{}', '"dtype":"F16"', " ", "\n", "\0", "\ud800", "é",
];

/** Applies one to four random edits to the header. An edit removes, repeats or overwrites a run of characters, or inserts syntax. */
function mutate(header: string, next: () => number): string {
  const below = (limit: number) => Math.floor(next() * limit);
  let text = header;
  for (let edits = 1 + below(4); edits > 0; edits--) {
    const at = below(text.length + 1);
    const run = text.slice(at, at + below(12));
    const inserted = [
      () => "",
      () => run + run,
      () => PIECES[below(PIECES.length)],
      () => String.fromCharCode(below(128)),
      () => PIECES[below(PIECES.length)] + run,
    ][below(5)]();
    text = text.slice(0, at) + inserted + text.slice(at + run.length);
  }
  return text;
}

/** Flips up to two random bits of the file, possibly in the length field. */
function flipBits(file: Uint8Array, next: () => number): void {
  for (let flips = Math.floor(next() * 3); flips > 0; flips--) {
    file[Math.floor(next() * file.byteLength)] ^= 1 << Math.floor(next() * 8);
  }
}

/** Returns the kind of the error that refused a file. Fails if the error is not a SafetensorsError. */
function refusalKind(error: unknown): string {
  assert.ok(error instanceof SafetensorsError, `not a SafetensorsError: ${error}`);
  return error.kind;
}

/** Reads the file as a stream. Returns "read", or the kind of the error. */
async function outcomeAsStream(file: Uint8Array): Promise<string> {
  try {
    const { chunks } = await openSafetensors(ReadableStream.from([file.subarray(0, 50), file.subarray(50)]));
    for await (const _ of chunks());
    return "read";
  } catch (error) {
    return refusalKind(error);
  }
}

/** Reads the file in memory and writes it again. Returns "read", or the kind of the error. */
function outcomeInMemory(file: Uint8Array<ArrayBuffer>): string {
  try {
    const { header, tensors } = decode(file);
    assert.deepEqual(decode(encode(tensors, header.metadata)).tensors, tensors);
    return "read";
  } catch (error) {
    return refusalKind(error);
  }
}

describe("a mutated safetensors file", () => {
  it("is read or refused, with the same outcome in memory and as a stream", async () => {
    const next = uniform(2301);
    const counts: Record<string, number> = { read: 0, malformed: 0, truncated: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const file = rawFile(round % 4 === 0 ? HEADER : mutate(HEADER, next), DATA_BYTES);
      flipBits(file, next);
      const result = outcomeInMemory(file);
      counts[result]++;
      const inChunks = await outcomeAsStream(file);
      if (inChunks !== result) assert.fail(`round ${round}: ${result} in memory, ${inChunks} as a stream`);
    }
    for (const [result, count] of Object.entries(counts)) {
      assert.ok(count > 20, `only ${count} files had the outcome ${result}`);
    }
  });
});
