/** Tests the K types. `tests/peers/gguf_test.ts` compares whole files with the library gguf. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { packExactly, TENSOR_TYPES } from "../../../src/model/gguf/tensor_types.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { superBlockWeights } from "../../support/read_gguf.ts";

for (
  const { label, code, format } of [
    TENSOR_TYPES.q2_k,
    TENSOR_TYPES.q3_k,
    TENSOR_TYPES.q4_k,
    TENSOR_TYPES.q6_k,
  ]
) {
  const { bits, groupSize, symmetric, scaleBits } = format, middle = 2 ** (bits - 1);
  const limit = 2 ** (symmetric ? scaleBits - 1 : scaleBits) - 1;

  /** Random weights of a super-block on a grid of the type. Each group has its own scale and minimum. */
  const weightsOnGrid = (seed: number, factor: number, codes = 2 ** bits): Float32Array => {
    const next = uniform(seed), below = (count: number) => Math.floor(next() * count);
    const groups = Array.from({ length: 256 / groupSize }, () => {
      const scale = (1 + below(limit)) * (symmetric && next() < 0.5 ? -1 : 1);
      return { scale, lowest: symmetric ? scale : below(limit + 1), first: below(2 * middle) };
    });
    return Float32Array.from({ length: 256 }, (_, i) => {
      const { scale, lowest, first } = groups[Math.floor(i / groupSize)];
      const code = codes < 2 ** bits ? Math.min(first + below(codes), 2 * middle - 1) : below(codes);
      return (code * scale - middle * lowest) * factor;
    });
  };
  const written = (weights: Float32Array) => {
    const bytes = packExactly(format, weights);
    return bytes && superBlockWeights({ type: code, bytes }).map((weight) => weight + 0);
  };

  describe(label, () => {
    it("packExactly() writes blocks that are exactly the weights, for factors of every size", () => {
      for (let seed = 0; seed < 200; seed++) {
        const factor = Math.f16round(2 ** (seed % 30 - 20) * (1 + seed / 200));
        const weights = weightsOnGrid(seed, factor, seed % 3 ? 2 ** bits : Math.min(2 ** bits, 1 + seed % 7));
        assert.deepEqual(written(weights), [...weights].map((weight) => weight + 0), `seed ${seed}`);
      }
    });

    it("packExactly() writes zeros, groups of zeros and single weights", () => {
      const weights = weightsOnGrid(3, 2 ** -10);
      weights.fill(0, 0, 2 * groupSize);
      assert.deepEqual(written(weights), [...weights].map((weight) => weight + 0));
      assert.deepEqual(written(new Float32Array(256)), new Array(256).fill(0));
      const single = new Float32Array(256).with(77, -0.125);
      assert.deepEqual(written(single), [...single]);
    });

    it("packExactly() finds nothing if a weight lies beside the grid, or if no factor in F16 fits", () => {
      const weights = weightsOnGrid(5, 2 ** -10);
      assert.ok(written(weights));
      assert.equal(written(weights.with(100, weights[100] + 2 ** -20)), undefined);
      assert.equal(written(weights.map((weight) => weight * 1.1)), undefined);
      const next = uniform(8);
      assert.equal(written(Float32Array.from({ length: 512 }, () => next() - 0.5)), undefined);
      assert.equal(written(new Float32Array(256).with(77, Infinity)), undefined);
      assert.equal(written(new Float32Array(256).with(77, NaN)), undefined);
    });
  });
}
