/** Runs the soak for two minutes. `deno task bench soak` runs it for an hour, and RELIABILITY.md has its figures. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { soak } from "../../scripts/soak/soak.ts";

const MINUTES = Number(Deno.env.get("PARE_SOAK_MINUTES") ?? 2);
/** The most resident memory of a host that serves these clients, in MiB. Hosts have used 380 at most. */
const MAX_MEBIBYTES = 640;

describe(`a host that 64 clients use for ${MINUTES} minutes`, () => {
  it("gives no wrong answer, refuses with Retry-After, frees its memory and ends", async () => {
    const { figures, host } = await soak({ minutes: MINUTES, clients: 64 });
    const { counts, unexpected, memory } = figures;
    console.log(JSON.stringify(figures));
    assert.deepEqual(unexpected.first, []);
    assert.equal(counts.wrong, 0);
    for (const [name, count] of Object.entries(counts)) {
      if (name !== "wrong") assert.ok(count > 0, `${name} is 0`);
    }
    assert.equal(figures.deviceBytesAtEnd, 0);
    assert.ok(memory.peak < MAX_MEBIBYTES, `the host used ${memory.peak} MiB`);
    assert.ok(figures.endedCleanly, "the host did not end with code 0");
    assert.throws(() => Deno.statSync(`/proc/${host.pid}`), Deno.errors.NotFound);
  });
});
