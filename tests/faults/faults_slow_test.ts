/**
 * Causes some faults of every kind, in this process and in others. `deno task bench faults` causes more, and
 * RELIABILITY.md has its figures.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { type FaultKind, Tally } from "../../scripts/faults/fault_kind.ts";
import { KINDS } from "../../scripts/faults/kinds.ts";

/** Declares one test for each kind. Each causes as many faults as the kind allows in tests, and none may be lost. */
function testFaults(kinds: readonly FaultKind[]): void {
  for (const kind of kinds) {
    it(`(${kind.fault}): ${kind.survival}`, async () => {
      const tally = new Tally(), seed = Math.floor(Math.random() * 2 ** 32);
      console.log(`the seed is ${seed}`);
      await kind.run(kind.tries.test, tally, seed);
      const { tried, failures } = tally.count();
      assert.deepEqual(failures, []);
      assert.ok(tried >= kind.tries.test, `tried ${tried}`);
    });
  }
}

describe("after a fault", () => testFaults(KINDS.filter(({ processes }) => !processes)));

/** Kills, stop signals, and the restart of an edge. */
describe(
  "after a fault of a process",
  { skip: Deno.build.os === "windows" && "Windows has no signals" },
  () => testFaults(KINDS.filter(({ processes }) => processes)),
);
