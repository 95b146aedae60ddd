/** Tests the header of GGUF files. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { bool, encodeHeader, f32, type MetadataEntry, text, u32 } from "../../../src/model/gguf/container.ts";
import { readGguf } from "../../support/read_gguf.ts";

describe("encodeHeader()", () => {
  it("writes every type of metadata, also if it is longer than the first buffer", () => {
    const long = "ä".repeat(100_000), tokens = ["", "▁a", "\u{1f600}"];
    const metadata: MetadataEntry[] = [
      ["a.number", u32(2 ** 32 - 1)],
      ["a.float", f32(0.5)],
      ["a.switch", bool(true)],
      ["a.text", text(long)],
      ["a.tokens", { type: "text", value: tokens }],
      ["a.types", { type: "i32", value: [-1, 6] }],
    ];
    const header = encodeHeader(metadata, []);
    assert.equal(header.length % 32, 0);
    assert.deepEqual([...readGguf(header).metadata], [
      ["a.number", 2 ** 32 - 1],
      ["a.float", 0.5],
      ["a.switch", true],
      ["a.text", long],
      ["a.tokens", tokens],
      ["a.types", [-1, 6]],
    ]);
  });

  it("places tensors at multiples of 32 bytes, with their extents in reverse", () => {
    const tensors = [
      { name: "a.weight", type: 1, shape: [3, 5], byteLength: 30 },
      { name: "b.weight", type: 0, shape: [2], byteLength: 8 },
    ];
    const header = encodeHeader([], tensors), file = new Uint8Array(header.length + 64);
    file.set(header);
    file[header.length + 32] = 7;
    const found = readGguf(file).tensors;
    assert.deepEqual(found.get("a.weight")!.shape, [3, 5]);
    assert.equal(found.get("b.weight")!.bytes[0], 7);
  });

  it("refuses what would break the header, and names the key", () => {
    const refused = (entry: MetadataEntry, message: RegExp) =>
      assert.throws(() => encodeHeader([entry], []), { name: "ModelError", message });
    refused(["a.count", u32(2 ** 32)], /a\.count is 4294967296, which u32 cannot store/);
    refused(["a.count", u32(-1)], /a\.count is -1/);
    refused(["a.count", u32(1.5)], /a\.count is 1\.5/);
    refused(["a.factor", f32(1e39)], /a\.factor is 1e\+39, which f32 cannot store/);
    refused(["a.factor", f32(NaN)], /a\.factor is NaN/);
    refused(["a.tokens", { type: "text", value: ["\ud800"] }], /a\.tokens has .*, which is not Unicode text/);
    refused(
      ["a.tokens", { type: "text", value: ["b\0c"] }],
      /a\.tokens has "b\\u0000c", but llama\.cpp ends a text/,
    );
    refused(
      ["a.text", text("x".repeat((16 << 20) + 1))],
      /a\.text has 16777217 bytes, and may have at most 16777216/,
    );
    const tensor = { name: "x".repeat(64), type: 0, shape: [1], byteLength: 4 };
    assert.throws(() => encodeHeader([], [tensor]), /has 64 bytes, and may have at most 63/);
  });
});
