/** Tests the safetensors writer. The tests compare the bytes that it writes, and read them again with the reader. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { decode } from "../../../src/tensor/safetensors/decode.ts";
import { encode, encodeHeader } from "../../../src/tensor/safetensors/encode.ts";
import type { HostTensor } from "../../../src/tensor/host_tensor.ts";

const WEIGHT: HostTensor = { dtype: "F32", shape: [2, 1], data: Uint8Array.of(1, 2, 3, 4, 5, 6, 7, 8) };
const MASK: HostTensor = { dtype: "U8", shape: [3], data: Uint8Array.of(9, 10, 11) };

describe("encode", () => {
  it("writes the length, the header and the data as the format defines them", () => {
    const json = '{"__metadata__":{"a":"b"},"weight":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},' +
      '"mask":{"dtype":"U8","shape":[3],"data_offsets":[8,11]}}';
    const padded = json.padEnd(Math.ceil(json.length / 8) * 8);
    const file = encode({ weight: WEIGHT, mask: MASK }, { a: "b" });
    assert.equal(new DataView(file.buffer).getBigUint64(0, true), BigInt(padded.length));
    assert.equal(new TextDecoder().decode(file.subarray(8, 8 + padded.length)), padded);
    assert.deepEqual([...file.subarray(8 + padded.length)], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it("preserves unusual names, the order of the tensors and the metadata in a round trip", () => {
    const tensors = new Map<string, HostTensor>([
      ["", MASK],
      ["2", WEIGHT],
      ["1", MASK],
      ["__proto__", { dtype: "BF16", shape: [0, 4], data: new Uint8Array(0) }],
      ['quote " slash \\ tab \t nul \0', { dtype: "F64", shape: [], data: new Uint8Array(8) }],
      ["層.🦾", MASK],
    ]);
    const metadata = { report: '{"loss":1e-3}\n', "": "", "ключ": "\u2028 \0 \ufeff 😀", "9": "x" };
    const file = decode(encode(tensors, metadata));
    assert.deepEqual([...file.tensors], [...tensors]);
    assert.deepEqual(file.header.metadata, metadata);
  });

  it("writes a file without tensors", () => {
    assert.deepEqual([...encode({})], [8, 0, 0, 0, 0, 0, 0, 0, ...new TextEncoder().encode("{}      ")]);
  });

  it("refuses data whose length does not match dtype and shape", () => {
    assert.throws(() => encode({ mask: { ...MASK, shape: [4] } }), {
      name: "RangeError",
      message: 'safetensors encode: tensor "mask" has 3 bytes of data but needs 4',
    });
  });
});

describe("encodeHeader", () => {
  it("pads headers of every length to a multiple of 8 bytes", () => {
    for (let length = 0; length < 16; length++) {
      const { bytes } = encodeHeader([{ name: "n".repeat(length), dtype: "U8", shape: [1] }]);
      assert.equal(bytes.byteLength % 8, 0);
      assert.equal(new DataView(bytes.buffer).getBigUint64(0, true), BigInt(bytes.byteLength - 8));
    }
  });

  it("computes offsets above 2^32 exactly", () => {
    const { dataBytes, tensors } = encodeHeader([
      { name: "hessian", dtype: "F32", shape: [49152, 49152] },
      { name: "mask", dtype: "U8", shape: [1] },
    ]);
    assert.equal(dataBytes, 9663676417);
    assert.deepEqual(tensors[1], {
      name: "mask",
      dtype: "U8",
      shape: [1],
      begin: 9663676416,
      end: 9663676417,
    });
  });

  it("refuses names that are repeated, reserved or not valid Unicode", () => {
    const named = (...names: string[]) => names.map((name) => ({ name, dtype: "U8" as const, shape: [1] }));
    assert.throws(() => encodeHeader(named("a", "a")), /the name "a" is repeated or reserved/);
    assert.throws(
      () => encodeHeader(named("__metadata__")),
      /the name "__metadata__" is repeated or reserved/,
    );
    assert.throws(() => encodeHeader(named("\ud800")), /not valid Unicode/);
    assert.throws(() => encodeHeader([], { "\udc00": "" }), /not valid Unicode/);
    assert.throws(() => encodeHeader([], { a: "\udc00" }), /not valid Unicode/);
  });

  it("refuses negative extents and sizes of 2^53 bytes or more", () => {
    assert.throws(() => encodeHeader([{ name: "a", dtype: "U8", shape: [-1] }]), RangeError);
    assert.throws(() => encodeHeader([{ name: "a", dtype: "U8", shape: [2 ** 30, 2 ** 30] }]), RangeError);
  });
});
