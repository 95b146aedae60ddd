/** Fuzzes the reader of safetensors files, as a stream and in memory. */

import { describe } from "@std/testing/bdd";
import assert from "node:assert/strict";
import fc from "fast-check";
import { decode, openSafetensors } from "../../src/tensor/safetensors/decode.ts";
import { encode } from "../../src/tensor/safetensors/encode.ts";
import { SafetensorsError } from "../../src/tensor/safetensors/error.ts";
import { BYTES_PER_ELEMENT, type Dtype } from "../../src/tensor/dtype.ts";
import { rawFile } from "../attacks/safetensors/raw_file.ts";
import { damagedBytes } from "./arbitraries/damaged_bytes.ts";
import { damagedJson } from "./arbitraries/damaged_json.ts";
import { fuzz, type Outcome, unlessRefused } from "./property.ts";
import { assertSame } from "../support/assert_same.ts";

const isDocumented = (error: unknown) => error instanceof SafetensorsError && error.message.length <= 500;

const dtypes = Object.keys(BYTES_PER_ELEMENT) as Dtype[];

/** Generates valid files with up to four small tensors. */
const validFile: fc.Arbitrary<Uint8Array> = fc.uniqueArray(
  fc.record({
    name: fc.oneof(
      fc.constantFrom("weight", "hessian", "a.b", "é"),
      fc.string({ maxLength: 8 }).filter((s) => s !== "__metadata__"),
    ),
    dtype: fc.constantFrom(...dtypes),
    shape: fc.array(fc.nat(3), { maxLength: 3 }),
  }),
  { selector: ({ name }) => name, maxLength: 4 },
).map((specs) =>
  encode(
    new Map(specs.map(({ name, dtype, shape }, seed) => {
      const bytes = shape.reduce((product, extent) => product * extent, BYTES_PER_ELEMENT[dtype]);
      return [name, { dtype, shape, data: Uint8Array.from({ length: bytes }, (_, i) => i * 7 + seed) }];
    })),
    { format: "pt" },
  )
);

/** Generates files of valid JSON, in which members of the header are wrong. */
const damagedHeader = damagedJson([
  {
    t: { dtype: "F32", shape: [2], data_offsets: [0, 8] },
    u: { dtype: "U8", shape: [], data_offsets: [8, 9] },
  },
  { __metadata__: { a: "1" }, t: { dtype: "F16", shape: [0, 4], data_offsets: [0, 0] } },
]).chain((header) => fc.nat(12).map((dataBytes) => rawFile(JSON.stringify(header), dataBytes)));

/** Reads a file that arrives in chunks of `chunkBytes`, and returns the data of each tensor. */
async function readStream(file: Uint8Array, chunkBytes: number): Promise<Map<string, Uint8Array>> {
  const chunks = Array.from(
    { length: Math.ceil(file.length / chunkBytes) },
    (_, i) => file.subarray(i * chunkBytes, (i + 1) * chunkBytes),
  );
  const stream = await openSafetensors(ReadableStream.from(chunks), { totalBytes: file.length });
  const data = new Map(
    stream.header.tensors.map(({ name, begin, end }) => [name, new Uint8Array(end - begin)]),
  );
  for await (const { tensor, offset, bytes } of stream.chunks()) data.get(tensor.name)!.set(bytes, offset);
  return data;
}

async function readBoth(
  { file, chunkBytes }: { file: Uint8Array<ArrayBuffer>; chunkBytes: number },
): Promise<Outcome> {
  const decoded = await unlessRefused(() => decode(file), isDocumented);
  const streamed = await unlessRefused(() => readStream(file, chunkBytes), isDocumented);
  assert.equal(streamed === undefined, decoded === undefined, "the stream and the file in memory must agree");
  if (!decoded || !streamed) return "refused";
  const { tensors, header } = decoded;
  assert.deepEqual([...streamed.keys()].sort(), [...tensors.keys()].sort());
  for (const [name, { data }] of tensors) assert.deepEqual(streamed.get(name), data.slice());
  assertSame(decode(encode(tensors, header.metadata)).tensors, tensors);
  return "accepted";
}

describe("fuzzing safetensors", () => {
  const chunkBytes = fc.integer({ min: 1, max: 64 });
  const random = fc.uint8Array({ maxLength: 64 }).map((bytes) => rawFile(new Uint8Array(bytes), 4));
  fuzz(
    "safetensors file",
    fc.record({ file: fc.oneof({ arbitrary: damagedBytes(validFile), weight: 9 }, random), chunkBytes }),
    readBoth,
  );
  fuzz("safetensors header", fc.record({ file: damagedHeader, chunkBytes }), readBoth);
});
