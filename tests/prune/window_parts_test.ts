/** Tests how the windows of a calibration are divided into parts, and over hosts. */

import { it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { PART_WINDOWS } from "../../src/protocol/limits.ts";
import { divideOverHosts, partSizes } from "../../src/prune/window_parts.ts";

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

it("partSizes() never mixes fitted and held-out windows", () => {
  assert.deepEqual(partSizes({ windows: numbers(35), validationWindows: numbers(17) }), [16, 16, 3, 16, 1]);
  assert.deepEqual(partSizes({ windows: numbers(16) }), [16]);
});

it("divideOverHosts() gives whole parts to all hosts but the last, and keeps the order", () => {
  for (const count of [1, 16, 17, 33, 40, 64, 100, 128]) {
    for (const heldOut of [0, 1, 13, 40]) {
      for (const hosts of [1, 2, 3, 7]) {
        const shares = divideOverHosts(numbers(count), numbers(heldOut), hosts);
        assert.equal(shares.length, Math.min(hosts, Math.ceil(count / PART_WINDOWS)));
        assert.deepEqual(shares.flatMap(({ windows }) => windows), numbers(count));
        assert.ok(shares.every(({ windows }) => windows.length > 0));
        assert.ok(shares.slice(0, -1).every(({ windows }) => windows.length % PART_WINDOWS === 0));
        assert.deepEqual(shares.map(({ validationWindows }) => validationWindows.length), [
          ...shares.slice(1).map(() => 0),
          heldOut,
        ]);
      }
    }
  }
});

it("divideOverHosts() counts held-out windows as work of the last host", () => {
  const sizes = (count: number, heldOut: number, hosts: number) =>
    divideOverHosts(numbers(count), numbers(heldOut), hosts).map(({ windows }) => windows.length);
  assert.deepEqual(sizes(128, 0, 2), [64, 64]);
  assert.deepEqual(sizes(112, 16, 2), [64, 48]);
  assert.deepEqual(sizes(112, 16, 4), [32, 32, 32, 16]);
});
