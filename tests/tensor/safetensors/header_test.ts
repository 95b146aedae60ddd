/** Tests that the parser accepts valid safetensors headers. Most invalid headers are in `tests/attacks/safetensors_files.ts`. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { SafetensorsError } from "../../../src/tensor/safetensors/error.ts";
import { MAX_HEADER_BYTES, parseHeader, parseHeaderLength } from "../../../src/tensor/safetensors/header.ts";

const bytes = (text: string) => new TextEncoder().encode(text);
const F32 = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}';

describe("parseHeader", () => {
  it("returns the tensors in the order of their data, not in the order of the header", () => {
    const json = bytes(
      '{"b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]},"__metadata__":{"format":"pt"},' +
        `"7":${F32},"s":{"dtype":"U8","shape":[],"data_offsets":[12,13]}}   `,
    );
    assert.deepEqual(parseHeader(json, 13), {
      tensors: [
        { name: "7", dtype: "F32", shape: [2], begin: 0, end: 8 },
        { name: "b", dtype: "F16", shape: [1, 2], begin: 8, end: 12 },
        { name: "s", dtype: "U8", shape: [], begin: 12, end: 13 },
      ],
      metadata: { format: "pt" },
      headerBytes: 8 + json.byteLength,
      dataBytes: 13,
    });
  });

  it("accepts a file without tensors", () => {
    assert.deepEqual(parseHeader(bytes("{}"), 0), {
      tensors: [],
      metadata: {},
      headerBytes: 10,
      dataBytes: 0,
    });
  });

  it("accepts empty tensors before and after other tensors", () => {
    const empty = (at: number) => `{"dtype":"F32","shape":[0,3],"data_offsets":[${at},${at}]}`;
    const header = parseHeader(bytes(`{"z":${empty(8)},"t":${F32},"a":${empty(0)}}`), 8);
    assert.deepEqual(header.tensors.map(({ name }) => name), ["a", "t", "z"]);
  });

  it("reads offsets above 2^32 exactly", () => {
    const json = bytes('{"h":{"dtype":"F32","shape":[49152,49152],"data_offsets":[0,9663676416]}}');
    assert.equal(parseHeader(json, 9663676416).dataBytes, 9663676416);
  });

  it("accepts the same key in different objects, and keys that look like JSON syntax", () => {
    const json = bytes(
      `{"__metadata__":{"t":"{\\"t\\":-1e5}","\\\\":"]"},"t":${F32},"dtype":{"dtype":"F32",` +
        '"shape":[0],"data_offsets":[8,8]}}',
    );
    const header = parseHeader(json);
    assert.deepEqual(header.metadata, { t: '{"t":-1e5}', "\\": "]" });
    assert.deepEqual(header.tensors.map(({ name }) => name), ["t", "dtype"]);
  });

  it("treats __proto__ and constructor as ordinary names", () => {
    const json = bytes(
      `{"__metadata__":{"__proto__":"m"},"__proto__":${F32},` +
        '"constructor":{"dtype":"F32","shape":[0],"data_offsets":[8,8]}}',
    );
    const header = parseHeader(json);
    assert.deepEqual(header.tensors.map(({ name }) => name), ["__proto__", "constructor"]);
    assert.deepEqual(Object.entries(header.metadata), [["__proto__", "m"]]);
    assert.equal(Object.getPrototypeOf({}), Object.prototype);
    assert.equal(Object.getPrototypeOf(header.metadata), Object.prototype);
  });

  it("reports the tensor or the byte offset of the fault in an invalid header", () => {
    const fault = (text: string) => {
      try {
        parseHeader(bytes(text));
      } catch (error) {
        if (error instanceof SafetensorsError) return { tensor: error.tensor, byte: error.byte };
        throw error;
      }
    };
    assert.deepEqual(fault('{"é":{}}'), { tensor: "é", byte: undefined });
    assert.deepEqual(fault('{"é":1,"é":2}'), { tensor: undefined, byte: 8 + 8 });
  });

  it("distinguishes a data section that is too short from one that is too long", () => {
    const json = bytes(`{"t":${F32}}`);
    assert.throws(() => parseHeader(json, 7), { kind: "truncated", byte: 8 + json.byteLength + 7 });
    assert.throws(() => parseHeader(json, 9), { kind: "malformed", byte: 8 + json.byteLength + 8 });
  });
});

describe("parseHeaderLength", () => {
  const prefix = (length: bigint) => new Uint8Array(BigUint64Array.of(length).buffer);

  it("accepts a length up to the limit, which the caller can change", () => {
    assert.equal(parseHeaderLength(prefix(BigInt(MAX_HEADER_BYTES))), MAX_HEADER_BYTES);
    assert.equal(parseHeaderLength(prefix(50_000_000n), 100_000_000), 50_000_000);
    assert.throws(() => parseHeaderLength(prefix(65n), 64), { kind: "malformed", byte: 0 });
  });
});
