/** Tests UnsentAnswers, which limits the answers that are sent as one array. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { MAX_WHOLE_BYTES, UnsentAnswers } from "../../src/host/transfers.ts";

describe("UnsentAnswers", () => {
  it("accepts answers up to a size, and up to a sum of sizes", () => {
    const unsent = new UnsentAnswers(100), pending = new Promise(() => {});
    assert.equal(new UnsentAnswers().tryAdd(MAX_WHOLE_BYTES, pending), true);
    assert.equal(new UnsentAnswers().tryAdd(MAX_WHOLE_BYTES + 1, pending), false);
    assert.deepEqual([60, 41, 40].map((bytes) => unsent.tryAdd(bytes, pending)), [true, false, true]);
  });

  it("accepts more answers when earlier ones were taken or lost", async () => {
    for (const end of ["resolve", "reject"] as const) {
      const unsent = new UnsentAnswers(100), sent = Promise.withResolvers<void>();
      assert.equal(unsent.tryAdd(100, sent.promise), true);
      assert.equal(unsent.tryAdd(1, new Promise(() => {})), false);
      sent[end]();
      await sent.promise.catch(() => {});
      await Promise.resolve();
      assert.equal(unsent.tryAdd(100, new Promise(() => {})), true);
    }
  });

  it("does not count the answers to requests of this process", () => {
    const unsent = new UnsentAnswers(100);
    assert.deepEqual([100, 100].map((bytes) => unsent.tryAdd(bytes, undefined)), [true, true]);
  });
});
