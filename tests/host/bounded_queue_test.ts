/**
 * Tests BoundedQueue, which limits how many tasks run and wait: the order of tasks, the limits on running and waiting tasks, cancellation,
 * and the retry time in a refusal.
 */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { BoundedQueue } from "../../src/host/bounded_queue.ts";

function createQueue(concurrency: number, maxWaiting: number, clock = () => 0) {
  return new BoundedQueue({ concurrency, maxWaiting, clock });
}

const nextMacrotask = () => new Promise((resolve) => setTimeout(resolve));

describe("BoundedQueue", () => {
  it("runs up to `concurrency` tasks at once, in order of arrival", async () => {
    const queue = createQueue(2, 10);
    const log: string[] = [], open: (() => void)[] = [];
    const task = (name: string) =>
      queue.run(async () => {
        log.push(name);
        await new Promise<void>((resolve) => open.push(resolve));
      });
    const all = ["a", "b", "c", "d"].map(task);
    await nextMacrotask();
    assert.deepEqual([log.join(""), queue.running, queue.waiting], ["ab", 2, 2]);
    open.shift()!();
    await nextMacrotask();
    assert.deepEqual([log.join(""), queue.running, queue.waiting], ["abc", 2, 1]);
    while (open.length) {
      open.shift()!();
      await nextMacrotask();
    }
    await Promise.all(all);
    assert.deepEqual([log.join(""), queue.running, queue.waiting], ["abcd", 0, 0]);
  });

  it("refuses a task at once when it is full, and estimates when to retry", async () => {
    let now = 0;
    const queue = createQueue(1, 1, () => now);
    const release = await queue.acquire();
    now += 20_000;
    release();
    const first = await queue.acquire();
    const second = queue.acquire();
    // The moving average is 0.2 · 20 s = 4 s, and two tasks are ahead: one is running and one is waiting.
    await assert.rejects(
      queue.acquire(),
      {
        code: "busy",
        retryAfter: 8,
        message: "the queue is full: 1 of at most 1 requests wait, and 1 are running",
      },
    );
    first();
    (await second)();
    (await queue.acquire())();
  });

  it("frees the place of a task that fails", async () => {
    const queue = createQueue(1, 1);
    await assert.rejects(queue.run(() => Promise.reject(new Error("no"))), /no/);
    assert.equal(await queue.run(() => Promise.resolve(7)), 7);
  });

  it("removes a waiting task whose signal is aborted", async () => {
    const queue = createQueue(1, 1);
    const release = await queue.acquire();
    const abort = new AbortController();
    const waiting = queue.acquire(abort.signal);
    abort.abort(new Error("gone"));
    await assert.rejects(waiting, /gone/);
    assert.equal(queue.waiting, 0);
    const next = queue.acquire();
    release();
    (await next)();
    await assert.rejects(queue.acquire(abort.signal), /gone/);
    assert.equal(queue.running, 0);
  });

  it("ignores the second release of the same place", async () => {
    const queue = createQueue(1, 0);
    const release = await queue.acquire();
    release();
    release();
    await queue.acquire();
    assert.equal(queue.running, 1);
    await assert.rejects(queue.acquire(), { code: "busy" });
  });
});
