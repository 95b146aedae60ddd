/** Tests the types of tensors whose weights are in blocks. `tests/peers/gguf_test.ts` compares them with the library gguf. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { findBlocks, packBlocks, roundBlocks, TENSOR_TYPES } from "../../../src/model/gguf/tensor_types.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { blockWeights, readBlocks } from "../../support/read_gguf.ts";

const TYPES = [TENSOR_TYPES.q4_0, TENSOR_TYPES.q5_0, TENSOR_TYPES.q8_0];

/** Returns random integers of two blocks, among them the smallest and the largest. */
function randomIntegers(bits: number): Int8Array {
  const next = uniform(bits),
    count = 2 ** bits,
    integers = Int8Array.from({ length: 64 }, () => next() * count - count / 2);
  integers.set([-count / 2, count / 2 - 1], 40);
  return integers;
}

for (const { label, code, format } of TYPES) {
  const { bits } = format, middle = 2 ** (bits - 1), factors = Float32Array.of(-0.0625, 2 ** -20);
  const integers = randomIntegers(bits);
  const weights = Float32Array.from(integers, (integer, i) => integer * factors[Math.floor(i / 32)]);

  describe(label, () => {
    it("packBlocks() writes the integers and their factors where the format has them", () => {
      const found = readBlocks({ type: code, bytes: packBlocks(format, { integers, factors }) });
      assert.deepEqual(found.codes.map((value) => value - middle), [...integers]);
      assert.deepEqual(found.factors, Array.from({ length: 64 }, (_, i) => factors[Math.floor(i / 32)]));
    });

    it("findBlocks() finds blocks whose weights are exactly those of the grid", () => {
      const blocks = findBlocks(format, weights);
      assert.ok(blocks);
      const written = blockWeights({ type: code, bytes: packBlocks(format, blocks) });
      assert.ok(written.every((weight, i) => weight === weights[i]), String(written));
    });

    it("findBlocks() finds none if one weight lies beside the grid, or if no factor in F16 fits", () => {
      const beside = weights.with(50, Math.fround(weights[50] + 2 ** -23));
      assert.equal(findBlocks(format, beside), undefined);
      assert.equal(findBlocks(format, weights.map((weight) => weight * 1.1)), undefined);
    });

    it("roundBlocks() rounds each weight to the nearest of its block, and gives zeros the factor 0", () => {
      const next = uniform(7), dense = Float32Array.from({ length: 64 }, (_, i) => i < 32 ? next() - 0.5 : 0);
      const blocks = roundBlocks(format, dense), step = Math.abs(blocks.factors[0]);
      assert.equal(Math.abs(blocks.factors[1]), 0);
      for (let i = 0; i < 32; i++) {
        const wanted = Math.min(middle - 1, Math.max(-middle, dense[i] / blocks.factors[0]));
        assert.ok(Math.abs(blocks.integers[i] - wanted) <= 0.5 + 1e-5, `weight ${i}`);
      }
      const largest = Math.max(...dense.map(Math.abs));
      assert.ok(Math.abs(step - largest / (bits === 8 ? 127 : middle)) < 1e-7);
    });
  });
}
