/** The queue: order, bounds, cancellation, and what a refused client is told. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { BoundedQueue, BusyError } from "../../src/host/bounded_queue.ts";

function createQueue(concurrency: number, maxWaiting: number, clock = () => 0) {
  return new BoundedQueue({ concurrency, maxWaiting, clock });
}

const turn = () => new Promise((resolve) => setTimeout(resolve));

describe("BoundedQueue", () => {
  it("runs as many as it is wide, the rest in order of arrival", async () => {
    const queue = createQueue(2, 10);
    const log: string[] = [], open: (() => void)[] = [];
    const task = (name: string) =>
      queue.run(async () => {
        log.push(name);
        await new Promise<void>((resolve) => open.push(resolve));
      });
    const all = ["a", "b", "c", "d"].map(task);
    await turn();
    assert.deepEqual([log.join(""), queue.running, queue.waiting], ["ab", 2, 2]);
    open.shift()!();
    await turn();
    assert.deepEqual([log.join(""), queue.running, queue.waiting], ["abc", 2, 1]);
    while (open.length) {
      open.shift()!();
      await turn();
    }
    await Promise.all(all);
    assert.deepEqual([log.join(""), queue.running, queue.waiting], ["abcd", 0, 0]);
  });

  it("refuses at once when it is full, and says when to come back", async () => {
    let now = 0;
    const queue = createQueue(1, 1, () => now);
    const leave = await queue.enter();
    now += 20_000;
    leave();
    const first = await queue.enter();
    const second = queue.enter();
    // A mean of 0.2 · 20 s, twice: the one that runs and the one that waits.
    await assert.rejects(
      queue.enter(),
      (error) => error instanceof BusyError && error.retryAfterSeconds === 8,
    );
    first();
    (await second)();
    (await queue.enter())();
  });

  it("passes the place on where a task fails", async () => {
    const queue = createQueue(1, 1);
    await assert.rejects(queue.run(() => Promise.reject(new Error("no"))), /no/);
    assert.equal(await queue.run(() => Promise.resolve(7)), 7);
  });

  it("lets a waiting task leave", async () => {
    const queue = createQueue(1, 1);
    const leave = await queue.enter();
    const abort = new AbortController();
    const waiting = queue.enter(abort.signal);
    abort.abort(new Error("gone"));
    await assert.rejects(waiting, /gone/);
    assert.equal(queue.waiting, 0);
    const next = queue.enter();
    leave();
    (await next)();
    await assert.rejects(queue.enter(abort.signal), /gone/);
    assert.equal(queue.running, 0);
  });

  it("counts a place given back twice once", async () => {
    const queue = createQueue(1, 0);
    const leave = await queue.enter();
    leave();
    leave();
    await queue.enter();
    assert.equal(queue.running, 1);
    await assert.rejects(queue.enter(), BusyError);
  });
});
