/** Tests that no damage of an unfinished run of `pare prune` reaches a finished checkpoint. `deno task bench damages` tries more. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { DAMAGE_KINDS } from "../../scripts/faults/runs/damage.ts";
import { tryDamages } from "../../scripts/faults/runs/try_damages.ts";

const DAMAGES = 200;

describe("a damaged unfinished run", () => {
  it(`is refused or ends in the right bytes, after each of ${DAMAGES} random damages`, async () => {
    const firstSeed = 1 + Math.floor(Math.random() * 1e6);
    console.log(`the seeds are ${firstSeed} to ${firstSeed + DAMAGES - 1}`);
    const { total, kinds, failures } = await tryDamages(DAMAGES, firstSeed);
    assert.deepEqual(failures, []);
    assert.equal(total.tried, DAMAGES);
    assert.deepEqual(Object.keys(kinds).sort(), DAMAGE_KINDS.toSorted());
    // The damages matter: most of them are noticed.
    assert.ok(total.refused + total.repaired > DAMAGES / 2, JSON.stringify(total));
  });
});
