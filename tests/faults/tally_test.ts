/** Tests the counts of faults. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Tally } from "./fault_kind.ts";

const fail = () => Promise.reject(new Error("other bytes"));
const succeed = () => Promise.resolve();

describe("Tally", () => {
  it("counts tries that survive and tries that are lost, with the reason", async () => {
    const tally = new Tally();
    await tally.attempt("first", succeed);
    await tally.attempt("second", fail);
    tally.hit("solving");
    tally.hit("solving");
    assert.deepEqual(tally.count(), {
      tried: 2,
      survived: 1,
      lost: 1,
      phases: { solving: 2 },
      failures: ["second: other bytes"],
    });
  });

  it("counts all faults before one result as lost if the result is wrong", async () => {
    const tally = new Tally();
    await tally.attemptAll("right", 5, succeed);
    await tally.attemptAll("wrong", 3, fail);
    const { tried, survived, lost } = tally.count();
    assert.deepEqual([tried, survived, lost], [8, 5, 3]);
  });
});
