/** Tests strips, which are ranges of whole rows of a tensor, and their assembly from chunks of any size. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { splitIntoStrips } from "../../../src/device/host_memory.ts";
import { StripAssembler, stripBufferBytes } from "../../../src/layer/sinks/upload.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

describe("splitIntoStrips", () => {
  it("covers every row once, in strips of at most the given size", () => {
    for (const rows of [1, 2, 7, 8, 9, 100]) {
      for (const rowBytes of [1, 3, 64, 1000]) {
        for (const boundary of [undefined, 1, 4, 64]) {
          const strips = splitIntoStrips({ rows, rowBytes, boundary, stripBytes: 256 });
          let next = 0;
          for (const strip of strips) {
            assert.equal(strip.row0, next);
            assert.equal(strip.byteLength, strip.rows * rowBytes);
            assert.ok(strip.byteLength <= 256 || strip.rows === 1);
            const last = strip.row0 + strip.rows - 1;
            if (boundary) assert.equal(Math.floor(strip.row0 / boundary), Math.floor(last / boundary));
            next += strip.rows;
          }
          assert.equal(next, rows);
        }
      }
    }
  });

  it("computes no strip before it is requested", () => {
    const started = performance.now();
    const [first] = splitIntoStrips({ rows: 2 ** 50, rowBytes: 2, boundary: 1024 });
    assert.deepEqual(first, { row0: 0, rows: 1024, byteLength: 2048 });
    assert.ok(performance.now() - started < 100);
  });

  it("splits rows of different lengths", () => {
    const strips = splitIntoStrips({ rows: 4, rowBytes: (row) => 4 * (4 - row), stripBytes: 28 });
    assert.deepEqual([...strips].map(({ row0, rows, byteLength }) => [row0, rows, byteLength]), [
      [0, 2, 28],
      [2, 2, 12],
    ]);
  });
});

describe("stripBufferBytes", () => {
  it("returns the padded length of the longest strip", () => {
    assert.equal(stripBufferBytes({ rows: 5, rowBytes: 3, stripBytes: 7 }), 8);
    assert.equal(stripBufferBytes({ rows: 5, rowBytes: 3, stripBytes: 7, boundary: 1 }), 4);
    assert.equal(stripBufferBytes({ rows: 1, rowBytes: 30, stripBytes: 7 }), 32);
    assert.equal(stripBufferBytes({ rows: 0, rowBytes: 3 }), 0);
  });

  it("bounds the longest strip of rows of different lengths", () => {
    for (const stripBytes of [4, 28, 100, 1000]) {
      const rules = { rows: 20, rowBytes: (row: number) => 4 * (20 - row), boundary: 6, stripBytes };
      const longest = Math.max(...[...splitIntoStrips(rules)].map(({ byteLength }) => byteLength));
      assert.ok(stripBufferBytes(rules) >= longest, `${stripBytes}`);
    }
  });
});

describe("StripAssembler", () => {
  it("produces the same strips from chunks of any size", () => {
    const next = uniform(3);
    const data = Uint8Array.from({ length: 37 * 5 }, (_, i) => i + 1);
    const rules = { rows: 37, rowBytes: 5, stripBytes: 23, boundary: 10 };
    for (let round = 0; round < 50; round++) {
      const assembler = new StripAssembler(rules, { bytes: new Uint8Array(stripBufferBytes(rules)) });
      const received: number[] = [];
      for (let at = 0; at < data.length;) {
        const end = at + 1 + Math.floor(next() * (round + 1));
        for (const { strip, bytes } of assembler.push(data.subarray(at, end))) {
          assert.equal(bytes.byteLength % 4, 0);
          assert.deepEqual(
            [...bytes.subarray(strip.byteLength)],
            Array(bytes.byteLength - strip.byteLength).fill(0),
          );
          received.push(...bytes.subarray(0, strip.byteLength));
        }
        at = end;
      }
      assert.deepEqual(received, [...data]);
    }
  });

  it("copies no strip that lies in a chunk as a whole", () => {
    const rules = { rows: 4, rowBytes: 8, stripBytes: 16 }, data = new Uint8Array(32).fill(1);
    const assembler = new StripAssembler(rules, { bytes: new Uint8Array(stripBufferBytes(rules)) });
    const [whole] = [...assembler.push(data.subarray(0, 20))];
    assert.equal(whole.bytes.buffer, data.buffer);
    const [joined] = [...assembler.push(data.subarray(20))];
    assert.notEqual(joined.bytes.buffer, data.buffer);
    assert.deepEqual([joined.strip.row0, ...joined.bytes], [2, ...data.subarray(16)]);
  });
});
