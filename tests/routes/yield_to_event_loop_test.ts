/** Tests TransferPauses. It makes a transfer that never has to wait for data yield to the event loop. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { longPause, shortPause, TransferPauses } from "../../routes/body.ts";

describe("TransferPauses", () => {
  for (const pause of [longPause, shortPause]) {
    it(`lets a due timer run during a transfer (${pause.name})`, async () => {
      const pauses = new TransferPauses(pause);
      let ran = false;
      setTimeout(() => ran = true, 0);
      for (const start = performance.now(); performance.now() < start + 5;); // waits until the timer is due
      for (let moved = 0; moved < 16; moved++) {
        assert.equal(ran, false, `after ${moved} MiB`);
        await pauses.afterBytes(2 ** 20);
      }
      assert.equal(ran, true);
    });
  }
});
