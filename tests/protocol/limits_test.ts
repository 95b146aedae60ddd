/** Tests that the limits of the HTTP contract agree with the constants of the numerical code. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { checkBlocking, tileEdgeFor } from "../../src/device/tiled_matrix.ts";
import { nextDamping } from "../../src/layer/linalg/factor.ts";
import { DEFAULT_DAMPING, MAX_BLOCKSIZE, MAX_DAMPING } from "../../src/protocol/limits.ts";

describe("the limits of the contract", () => {
  it("allow exactly the block sizes that the solve supports", () => {
    checkBlocking("h", tileEdgeFor(MAX_BLOCKSIZE), MAX_BLOCKSIZE);
    assert.throws(() => tileEdgeFor(MAX_BLOCKSIZE + 1), RangeError);
  });

  it("set the largest damping to the value at which the factorisation stops retrying", () => {
    assert.equal(nextDamping(MAX_DAMPING / 2), MAX_DAMPING);
    assert.equal(nextDamping(MAX_DAMPING), undefined);
  });

  it("set the default damping to the value with which the factorisation retries a damping of 0", () => {
    assert.equal(nextDamping(0), DEFAULT_DAMPING);
  });
});
