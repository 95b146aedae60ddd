/** Tests that the scale of rounded weights is found again. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { findScale } from "../../src/tensor/find_scale.ts";
import { uniform } from "../../scripts/fixtures/random.ts";

describe("findScale()", () => {
  for (const bits of [4, 5, 8]) {
    it(`finds a scale of which all weights are multiples, for ${bits} bits`, () => {
      const next = uniform(bits), limit = 2 ** (bits - 1);
      for (const size of [1, 32, 100]) {
        for (const sign of [1, -1]) {
          const scale = Math.f16round(sign * (0.001 + next()));
          const weights = Float32Array.from(
            { length: size },
            () => scale * (Math.floor(next() * 2 * limit) - limit),
          );
          const integers = new Int8Array(size), found = findScale(weights, integers, bits)!;
          assert.equal(Math.f16round(found), found);
          for (let i = 0; i < size; i++) {
            assert.ok(integers[i] >= -limit && integers[i] < limit);
            assert.equal(integers[i] * found + 0, weights[i] + 0);
          }
        }
      }
    });
  }

  it("finds no scale of weights that are not on a grid, or whose scale is no number in F16", () => {
    const integers = new Int8Array(3);
    assert.equal(findScale(Float32Array.of(1, 2.5, 7.25), integers, 4), undefined);
    assert.equal(findScale(Float32Array.of(NaN, 1, 2), integers, 4), undefined);
    assert.equal(findScale(Float32Array.of(0, NaN, 0), integers, 4), undefined);
    const scale = Math.fround(1 / 3);
    assert.equal(findScale(Float32Array.of(scale, -8 * scale, 5 * scale), integers, 4), undefined);
  });

  it("gives weights that are all 0 the scale 0", () => {
    const integers = Int8Array.of(1, 2);
    assert.deepEqual([findScale(new Float32Array(2), integers, 4), ...integers], [0, 0, 0]);
  });
});
