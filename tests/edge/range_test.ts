/** Tests the parser of the Range header. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { parseRange } from "../../src/edge/requests/preconditions.ts";

describe("parseRange()", () => {
  it("returns one range of bytes, limited to the end of the body", () => {
    assert.deepEqual(parseRange("bytes=0-0", 10), { offset: 0, length: 1 });
    assert.deepEqual(parseRange("bytes=3-5", 10), { offset: 3, length: 3 });
    assert.deepEqual(parseRange("bytes=3-", 10), { offset: 3, length: 7 });
    assert.deepEqual(parseRange("bytes=9-99", 10), { offset: 9, length: 1 });
    assert.deepEqual(parseRange("bytes=-4", 10), { offset: 6, length: 4 });
    assert.deepEqual(parseRange("bytes=-99", 10), { offset: 0, length: 10 });
    assert.deepEqual(parseRange("bytes=4294967296-", 2 ** 33), { offset: 2 ** 32, length: 2 ** 32 });
  });

  it("returns 'unsatisfiable' for a range outside of the body", () => {
    for (const header of ["bytes=10-", "bytes=10-12", "bytes=-0"]) {
      assert.equal(parseRange(header, 10), "unsatisfiable", header);
    }
  });

  it("returns undefined for an invalid or unsupported header", () => {
    for (const header of [undefined, "", "bytes=-", "bytes=5-3", "bytes=0-1,3-4", "rows=0-1", "bytes=a-b"]) {
      assert.equal(parseRange(header, 10), undefined, header);
    }
  });
});
