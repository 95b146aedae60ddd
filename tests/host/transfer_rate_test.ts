/** Tests TransferRate, which decides by the bytes of a transfer and by the time of waiting whether the client is too slow. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { TransferRate } from "../../src/host/transfers.ts";

/** A rate of at least 500 bytes per second over windows of 20 seconds, with a clock that a test moves. */
function start(leastBytesPerSecond = 500) {
  let now = 0;
  const rate = new TransferRate({ leastBytesPerSecond, windowMilliseconds: 20_000, clock: () => now });
  return {
    rate,
    /** Lets the host wait for `seconds`, and then transfers `bytes`. Returns whether the client was too slow before. */
    transfer(seconds: number, bytes: number): boolean {
      rate.startWaiting();
      now += seconds * 1000;
      const isTooSlow = rate.isTooSlow();
      rate.addBytes(bytes);
      return isTooSlow;
    },
    pass: (seconds: number) => void (now += seconds * 1000),
  };
}

describe("TransferRate", () => {
  it("lets a client of 800 bytes per second transfer for hours", () => {
    const { transfer } = start();
    for (let second = 0; second < 10_000; second++) assert.equal(transfer(1, 800), false);
  });

  it("stops a client that sends one byte every few seconds, and one that sends nothing, after the window", () => {
    for (const bytes of [0, 1]) {
      const { transfer } = start();
      for (let second = 0; second < 15; second += 5) assert.equal(transfer(5, bytes), false);
      assert.equal(transfer(5, bytes), true);
    }
  });

  it("does not let a client save up for a pause", () => {
    const { transfer } = start();
    assert.equal(transfer(1, 2 ** 30), false);
    assert.equal(transfer(20, 0), true);
  });

  it("does not count the time in which the host does not wait", () => {
    const { transfer, pass, rate } = start();
    for (let round = 0; round < 100; round++) {
      pass(60);
      assert.equal(rate.isTooSlow(), false);
      assert.equal(transfer(0.1, 100), false);
    }
  });

  it("stops nobody if the minimum rate is 0", () => {
    assert.equal(start(0).transfer(1e6, 0), false);
  });
});
