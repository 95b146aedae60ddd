/** A transfer that never waits lets others have their turn all the same. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { Turns } from "../../routes/turns.ts";

describe("Turns", () => {
  it("lets a due timer run while bytes are moved", async () => {
    const turns = new Turns();
    let ran = false;
    setTimeout(() => ran = true, 0);
    for (let moved = 0; moved < 16; moved++) {
      assert.equal(ran, false, `after ${moved} MiB`);
      await turns.after(2 ** 20);
    }
    assert.equal(ran, true);
  });
});
