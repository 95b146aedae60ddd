/**
 * Seeded mutations of a sound file: each is read or refused with SafetensorsError, alike whole and in chunks,
 * and what is read comes back from the writer.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode, openSafetensors } from "../../src/safetensors/decode.ts";
import { encode } from "../../src/safetensors/encode.ts";
import { SafetensorsError } from "../../src/safetensors/error.ts";
import { rawFile } from "../attacks/safetensors_files.ts";
import { uniform } from "../support/random.ts";

const ROUNDS = 4000;
const HEADER = '{"__metadata__":{"k":"v"},"weight":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},' +
  '"mask":{"dtype":"U8","shape":[5],"data_offsets":[24,29]},"t":{"dtype":"I64","shape":[0],"data_offsets":[29,29]}}';
const DATA_BYTES = 29;
// deno-fmt-ignore
const PIECES = [
  '"', "{", "}", "[", "]", ",", ":", "\\", "\\u0074", "-", "0", "1e400", "9".repeat(20), "null", "true",
  '"t"', '"t":', '"__proto__":', '"__metadata__":{}', '"dtype":"F16"', " ", "\n", "\0", "\ud800", "é",
];

/** The header with one to four edits: a run removed, repeated or overwritten with a piece of syntax. */
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

/** Flips a few bits anywhere, the length field included. */
function flip(file: Uint8Array, next: () => number): void {
  for (let flips = Math.floor(next() * 3); flips > 0; flips--) {
    file[Math.floor(next() * file.byteLength)] ^= 1 << Math.floor(next() * 8);
  }
}

function outcome(error: unknown): string {
  assert.ok(error instanceof SafetensorsError, `not a SafetensorsError: ${error}`);
  return error.kind;
}

async function streamed(file: Uint8Array): Promise<string> {
  try {
    const { chunks } = await openSafetensors(ReadableStream.from([file.subarray(0, 50), file.subarray(50)]));
    for await (const _ of chunks());
    return "read";
  } catch (error) {
    return outcome(error);
  }
}

function whole(file: Uint8Array<ArrayBuffer>): string {
  try {
    const { header, tensors } = decode(file);
    assert.deepEqual(decode(encode(tensors, header.metadata)).tensors, tensors);
    return "read";
  } catch (error) {
    return outcome(error);
  }
}

describe("mutated safetensors files", () => {
  it("are read or refused, whole and streamed alike", async () => {
    const next = uniform(2301);
    const counts: Record<string, number> = { read: 0, malformed: 0, truncated: 0 };
    for (let round = 0; round < ROUNDS; round++) {
      const file = rawFile(round % 4 === 0 ? HEADER : mutate(HEADER, next), DATA_BYTES);
      flip(file, next);
      const result = whole(file);
      counts[result]++;
      const inChunks = await streamed(file);
      if (inChunks !== result) assert.fail(`round ${round}: ${result} whole, ${inChunks} streamed`);
    }
    for (const [result, count] of Object.entries(counts)) {
      assert.ok(count > 20, `only ${count} were ${result}`);
    }
  });
});
