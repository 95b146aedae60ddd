/** Tests that allocations never overlap, and that freed memory is allocated again. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { ALIGNMENT, Allocator } from "../../../src/device/cpu/allocator.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";

const START = 1000, LIMIT = 1 << 20;

/**
 * Creates an allocator whose memory can always grow. `memory.end` is the address to which it has grown so
 * far.
 */
function testAllocator() {
  const memory = { end: START };
  const allocator = new Allocator(START, LIMIT, (end) => {
    memory.end = Math.max(memory.end, end);
    return true;
  });
  return { allocator, memory };
}

describe("allocator", () => {
  it("never returns memory that overlaps an allocation, is misaligned or lies outside its limits", () => {
    for (let seed = 1; seed <= 20; seed++) {
      const random = uniform(seed), { allocator, memory } = testAllocator();
      const live: { address: number; bytes: number }[] = [];
      for (let step = 0; step < 2000; step++) {
        if (random() < 0.55) {
          const bytes = Math.ceil(random() ** 4 * 60000);
          const address = allocator.allocate(bytes);
          if (address === undefined) continue;
          assert.equal(address % ALIGNMENT, 0);
          assert.ok(address >= START && address + bytes <= memory.end && memory.end <= LIMIT);
          for (const other of live) {
            const apart = address + bytes <= other.address || other.address + other.bytes <= address;
            assert.ok(apart, `seed ${seed}: ${address}+${bytes} overlaps ${other.address}+${other.bytes}`);
          }
          live.push({ address, bytes });
        } else if (live.length) {
          const [allocation] = live.splice(Math.floor(random() * live.length), 1);
          allocator.free(allocation.address);
        }
      }
      for (const { address } of live) allocator.free(address);
      const whole = allocator.allocate(memory.end - Math.ceil(START / ALIGNMENT) * ALIGNMENT);
      assert.equal(
        whole,
        Math.ceil(START / ALIGNMENT) * ALIGNMENT,
        `seed ${seed}: free ranges were not merged`,
      );
    }
  });

  it("reuses freed memory before it grows the memory", () => {
    const { allocator, memory } = testAllocator();
    const first = allocator.allocate(1000), second = allocator.allocate(5000);
    allocator.allocate(64);
    assert.ok(first !== undefined && second !== undefined);
    allocator.free(first);
    allocator.free(second);
    const { end } = memory;
    assert.equal(allocator.allocate(1024 + 5000), first, "adjacent free ranges are merged");
    assert.equal(memory.end, end);
  });

  it("allocates from the smallest free range that is large enough", () => {
    const { allocator } = testAllocator();
    const [large, , small] = [8192, 64, 1024, 64].map((bytes) => allocator.allocate(bytes));
    assert.ok(large !== undefined && small !== undefined);
    allocator.free(large);
    allocator.free(small);
    assert.equal(allocator.allocate(1000), small);
    assert.equal(allocator.allocate(8192), large);
  });

  it("returns undefined if there is no room, and can still allocate less", () => {
    const { allocator } = testAllocator();
    assert.equal(allocator.allocate(LIMIT), undefined);
    const half = allocator.allocate(LIMIT / 2);
    assert.ok(half !== undefined);
    assert.equal(allocator.allocate(LIMIT / 2), undefined);
    allocator.free(half);
    assert.equal(allocator.allocate(LIMIT / 2), half);
  });

  it("does not change its state if the memory cannot grow", () => {
    let allowed = 0;
    const allocator = new Allocator(0, LIMIT, (end) => end <= allowed);
    assert.equal(allocator.allocate(64), undefined);
    allowed = 128;
    assert.equal(allocator.allocate(64), 0);
    assert.equal(allocator.allocate(64), 64);
    assert.equal(allocator.allocate(64), undefined);
  });

  it("throws when freeing an address that is not allocated", () => {
    const { allocator } = testAllocator();
    const address = allocator.allocate(64);
    assert.ok(address !== undefined);
    allocator.free(address);
    assert.throws(() => allocator.free(address), /nothing is allocated there/);
  });
});
