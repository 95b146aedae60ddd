/** Declares the tests of kinds of faults. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { type FaultKind, Tally } from "../../scripts/faults/fault_kind.ts";

/** Declares one test for each kind. Each causes as many faults as the kind allows in tests, and none may be lost. */
export function testFaults(kinds: readonly FaultKind[]): void {
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
