/** Tests the pool of upload memory that moves between the two sides of a message port. */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { DeviceLostError } from "../../src/device/backend.ts";
import { MemoryPool } from "../../src/device/memory_pool.ts";

const MIB = 2 ** 20;

/** Borrows memory and sends it, as a write does. */
async function sendOne(pool: MemoryPool, byteLength: number): Promise<ArrayBuffer> {
  const { bytes } = await pool.borrow(byteLength);
  assert.equal(bytes.byteLength, byteLength);
  assert.ok(pool.send(bytes.buffer));
  return bytes.buffer;
}

/** Returns whether `promise` is still pending after all microtasks. */
async function isPending(promise: Promise<unknown>): Promise<boolean> {
  const pending = Symbol();
  const settled = promise.then(() => undefined, () => undefined);
  await new Promise((resolve) => setTimeout(resolve, 0));
  return await Promise.race([settled, Promise.resolve(pending)]) === pending;
}

describe("MemoryPool", () => {
  it("lends memory again when it was released or came back", async () => {
    const pool = new MemoryPool();
    const first = await pool.borrow(100), { buffer } = first.bytes;
    first.release();
    first.release();
    assert.equal((await pool.borrow(200)).bytes.buffer, buffer);
    assert.ok(pool.send(buffer));
    pool.receive(buffer);
    assert.equal((await pool.borrow(300)).bytes.buffer, buffer);
  });

  it("never lends the same memory twice at once, and does not take back what was sent", async () => {
    const pool = new MemoryPool(), first = await pool.borrow(8), second = await pool.borrow(8);
    assert.notEqual(first.bytes.buffer, second.bytes.buffer);
    assert.ok(pool.send(first.bytes.buffer));
    first.release();
    assert.notEqual((await pool.borrow(8)).bytes.buffer, first.bytes.buffer);
    assert.equal(pool.send(first.bytes.buffer), false);
    assert.equal(pool.send(new ArrayBuffer(8)), false);
  });

  it("makes borrowers wait in order while the largest number of bytes is on the other side", async () => {
    const pool = new MemoryPool(8 * MIB);
    const sent = [await sendOne(pool, 4 * MIB), await sendOne(pool, 4 * MIB)];
    const order: number[] = [];
    const waiting = [1, 2].map((name) => sendOne(pool, 4 * MIB).then(() => order.push(name)));
    assert.ok(await isPending(waiting[0]));
    pool.receive(sent[0]);
    await waiting[0];
    assert.ok(await isPending(waiting[1]));
    pool.receive(sent[1]);
    await waiting[1];
    assert.deepEqual(order, [1, 2]);
  });

  it("lends memory that is larger than the bound, one at a time", async () => {
    const pool = new MemoryPool(MIB), sent = await sendOne(pool, 16 * MIB);
    const next = pool.borrow(16 * MIB);
    assert.ok(await isPending(next));
    pool.receive(sent);
    assert.equal((await next).bytes.byteLength, 16 * MIB);
  });

  it("fails all waiting and later borrowers when the other side is lost", async () => {
    const pool = new MemoryPool(MIB);
    await sendOne(pool, MIB);
    const waiting = [pool.borrow(4), pool.borrow(4)];
    pool.fail(new DeviceLostError("the device was lost"));
    for (const borrower of [...waiting, pool.borrow(4)]) await assert.rejects(borrower, DeviceLostError);
  });
});
