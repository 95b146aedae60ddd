/** Tests the division of a matrix's columns into tiles, panels and blocks. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import {
  checkBlocking,
  panelWidth,
  splitIntoPanels,
  splitRange,
  tileEdgeFor,
  tileEdgeOn,
} from "../../../src/device/tiled_matrix.ts";

describe("tileEdgeFor()", () => {
  it("returns the largest multiple of the block size up to the given edge, and at least one block", () => {
    assert.deepEqual([1, 96, 100, 128, 256].map((size) => tileEdgeFor(size)), [4096, 4032, 4000, 4096, 4096]);
    assert.equal(tileEdgeFor(128, 300), 256);
    assert.equal(tileEdgeFor(128, 64), 128);
  });

  it("rejects block sizes that no kernel supports", () => {
    for (const size of [0, -4, 1.5, 257, NaN]) assert.throws(() => tileEdgeFor(size), RangeError);
  });
});

describe("tileEdgeOn()", () => {
  it("returns the largest power of two with which a tile fits in a buffer of a hardware GPU", () => {
    const hardware = { name: "a GPU", software: false };
    const edge = (maxBufferBytes: number) =>
      tileEdgeOn({ kind: "webgpu", adapter: hardware, maxBufferBytes });
    assert.deepEqual([2 ** 27, 2 ** 28, 2 ** 30, 2 ** 31 - 16].map(edge), [4096, 8192, 16384, 16384]);
  });

  it("returns a smaller edge on a CPU, and the default edge on a software adapter", () => {
    const adapter = { name: "a CPU", software: true }, maxBufferBytes = 2 ** 31;
    assert.equal(tileEdgeOn({ kind: "webgpu", adapter, maxBufferBytes }), 4096);
    assert.equal(
      tileEdgeOn({ kind: "cpu", adapter: { ...adapter, software: false }, maxBufferBytes }),
      1024,
    );
  });
});

describe("checkBlocking()", () => {
  it("rejects blocks that extend over two tiles, and names the tile edge and the block size", () => {
    checkBlocking("h", 4096, 128);
    assert.throws(() => checkBlocking("h", 4096, 96), {
      name: "RangeError",
      message: /h: the tile edge 4096.*96/,
    });
  });
});

describe("panelWidth()", () => {
  it("returns a width of whole blocks that fit in the tile and in the largest buffer", () => {
    const unlimited = 2 ** 31;
    assert.equal(panelWidth(4096, 128, 4096, unlimited), 512);
    assert.equal(panelWidth(4096, 96, 4032, unlimited), 480);
    assert.equal(panelWidth(4096, 128, 256, unlimited), 256);
    assert.equal(panelWidth(49152, 128, 4096, 2 ** 27), 512);
    assert.equal(panelWidth(100_000, 128, 4096, 2 ** 27), 256);
    assert.equal(panelWidth(1_000_000, 128, 4096, 2 ** 27), 128);
  });

  it("returns twice the width for tiles that are larger than the default", () => {
    assert.equal(panelWidth(12288, 128, 16384, 2 ** 31), 1024);
    assert.equal(panelWidth(12288, 96, 16320, 2 ** 31), 960);
    assert.equal(panelWidth(1_000_000, 128, 16384, 2 ** 31), 512);
  });
});

describe("splitIntoPanels() and splitRange()", () => {
  it("splitIntoPanels() covers every column once, in order, and no panel extends over two tiles", () => {
    for (const [cols, edge, width] of [[1, 64, 32], [64, 64, 32], [300, 64, 48], [1100, 4096, 512]]) {
      let next = 0;
      for (const { start, end } of splitIntoPanels(cols, edge, width)) {
        assert.equal(start, next);
        assert.ok(end > start && end - start <= width);
        assert.equal(Math.floor(start / edge), Math.floor((end - 1) / edge));
        next = end;
      }
      assert.equal(next, cols);
    }
  });

  it("splitRange() ends with a shorter range", () => {
    assert.deepEqual([...splitRange({ start: 4, end: 9 }, 2)].map(({ end }) => end), [6, 8, 9]);
    assert.deepEqual([...splitRange({ start: 4, end: 4 }, 2)], []);
  });
});
