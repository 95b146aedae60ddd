/** The limits of the contract agree with the numbers that the mathematics uses. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { checkBlocking, tileEdgeFor } from "../../src/linalg/blocking.ts";
import { nextDamping } from "../../src/linalg/damping.ts";
import { MAX_BLOCKSIZE, MAX_DAMPING } from "../../src/protocol/limits.ts";

describe("the limits of the contract", () => {
  it("allow exactly the block sizes that the solve supports", () => {
    checkBlocking("h", tileEdgeFor(MAX_BLOCKSIZE), MAX_BLOCKSIZE);
    assert.throws(() => tileEdgeFor(MAX_BLOCKSIZE + 1), RangeError);
  });

  it("end where the retries of a failed factorisation end", () => {
    assert.equal(nextDamping(MAX_DAMPING / 2), MAX_DAMPING);
    assert.equal(nextDamping(MAX_DAMPING), undefined);
  });
});
