/**
 * Tests that no damage of an unfinished run of `pare prune` reaches a finished checkpoint. `deno task bench damages` runs this
 * test with `PARE_DAMAGES` damages, whose first seed is `PARE_DAMAGE_SEED`, and reads the figures from the file
 * `PARE_DAMAGE_FIGURES`.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { DAMAGE_KINDS } from "./damage.ts";
import { tryDamages } from "./try_damages.ts";

const DAMAGES = Number(Deno.env.get("PARE_DAMAGES") ?? 200), FIGURES = Deno.env.get("PARE_DAMAGE_FIGURES");
const SEED = Number(Deno.env.get("PARE_DAMAGE_SEED") ?? 1 + Math.floor(Math.random() * 1e6));

describe("a damaged unfinished run", () => {
  it(`is refused or ends in the right bytes, after each of ${DAMAGES} random damages`, async () => {
    console.log(`the seeds are ${SEED} to ${SEED + DAMAGES - 1}`);
    const results = await tryDamages(DAMAGES, SEED), { total, kinds, failures } = results;
    if (FIGURES) await Deno.writeTextFile(FIGURES, `${JSON.stringify(results)}\n`, { append: true });
    assert.deepEqual(failures, []);
    assert.equal(total.tried, DAMAGES);
    assert.deepEqual(Object.keys(kinds).sort(), DAMAGE_KINDS.toSorted());
    // The damages matter: most of them are noticed.
    assert.ok(total.refused + total.repaired > DAMAGES / 2, JSON.stringify(total));
  });
});
