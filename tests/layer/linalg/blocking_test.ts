/** Tests the sizes of tiles and of blocks of columns. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { checkBlocking, tileEdgeFor, tileEdgeOn } from "../../../src/device/tiled_matrix.ts";

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
