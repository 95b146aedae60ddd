/** The arena against a list of what is allocated: blocks never overlap, and everything freed can be had again. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ALIGNMENT, Arena } from "../../src/cpu/arena.ts";
import { uniform } from "../support/random.ts";

const START = 1000, LIMIT = 1 << 20;

/** An arena whose memory always grows, and how far it has. */
function testArena(limit = LIMIT) {
  const memory = { end: START };
  const arena = new Arena(START, limit, (end) => {
    memory.end = Math.max(memory.end, end);
    return true;
  });
  return { arena, memory };
}

describe("arena", () => {
  it("never hands out overlapping, misaligned or foreign bytes", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = uniform(seed), { arena, memory } = testArena();
      const live: { address: number; bytes: number }[] = [];
      for (let step = 0; step < 2000; step++) {
        if (random() < 0.55) {
          const bytes = Math.ceil(random() ** 4 * 60000);
          const address = arena.allocate(bytes);
          if (address === undefined) continue;
          assert.equal(address % ALIGNMENT, 0);
          assert.ok(address >= START && address + bytes <= memory.end && memory.end <= LIMIT);
          for (const other of live) {
            const apart = address + bytes <= other.address || other.address + other.bytes <= address;
            assert.ok(apart, `seed ${seed}: ${address}+${bytes} overlaps ${other.address}+${other.bytes}`);
          }
          live.push({ address, bytes });
        } else if (live.length) {
          const [block] = live.splice(Math.floor(random() * live.length), 1);
          arena.free(block.address);
        }
      }
      for (const { address } of live) arena.free(address);
      const whole = arena.allocate(memory.end - Math.ceil(START / ALIGNMENT) * ALIGNMENT);
      assert.equal(
        whole,
        Math.ceil(START / ALIGNMENT) * ALIGNMENT,
        `seed ${seed}: free blocks were not merged`,
      );
    }
  });

  it("uses freed memory again before it grows", () => {
    const { arena, memory } = testArena();
    const first = arena.allocate(1000), second = arena.allocate(5000);
    arena.allocate(64);
    assert.ok(first !== undefined && second !== undefined);
    arena.free(first);
    arena.free(second);
    const { end } = memory;
    assert.equal(arena.allocate(1024 + 5000), first, "neighbours merge");
    assert.equal(memory.end, end);
  });

  it("takes the tightest block, so that large ones stay whole", () => {
    const { arena } = testArena();
    const [large, , small] = [8192, 64, 1024, 64].map((bytes) => arena.allocate(bytes));
    assert.ok(large !== undefined && small !== undefined);
    arena.free(large);
    arena.free(small);
    assert.equal(arena.allocate(1000), small);
    assert.equal(arena.allocate(8192), large);
  });

  it("says so when there is no room, and goes on", () => {
    const { arena } = testArena();
    assert.equal(arena.allocate(LIMIT), undefined);
    const half = arena.allocate(LIMIT / 2);
    assert.ok(half !== undefined);
    assert.equal(arena.allocate(LIMIT / 2), undefined);
    arena.free(half);
    assert.equal(arena.allocate(LIMIT / 2), half);
  });

  it("does not move its end when the memory refuses to grow", () => {
    let allowed = 0;
    const arena = new Arena(0, LIMIT, (end) => end <= allowed);
    assert.equal(arena.allocate(64), undefined);
    allowed = 128;
    assert.equal(arena.allocate(64), 0);
    assert.equal(arena.allocate(64), 64);
    assert.equal(arena.allocate(64), undefined);
  });

  it("refuses to free what is not allocated", () => {
    const { arena } = testArena();
    const address = arena.allocate(64);
    assert.ok(address !== undefined);
    arena.free(address);
    assert.throws(() => arena.free(address), /nothing is allocated there/);
  });
});
