/** Tests the types of tensors whose weights are in blocks. `tests/peers/gguf_test.ts` compares them with the library gguf. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { gridColumns, packCodes, packNearest, unpackBlocks } from "../../../src/model/gguf/blocks.ts";
import { hasSuperBlocks, TENSOR_TYPES } from "../../../src/model/gguf/tensor_types.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { blockWeights, superBlockWeights } from "../../support/read_gguf.ts";

const { q4_0, q5_0, q8_0, q2_k, q3_k, q4_k, q6_k } = TENSOR_TYPES;

for (const { label, code, format } of [q4_0, q5_0, q8_0, q2_k, q3_k, q4_k, q6_k]) {
  const { bits } = format, middle = 2 ** (bits - 1), columns = gridColumns(format), grids = 512 / columns;
  const [limit, symmetric] = hasSuperBlocks(format)
    ? [2 ** (format.symmetric ? format.scaleBits - 1 : format.scaleBits) - 1, format.symmetric]
    : [1, true];
  const weightsOf = hasSuperBlocks(format) ? superBlockWeights : blockWeights;

  /** Random codes of 512 weights on grids of the type: n·(code − middle)·d, or (n·code − m·middle)·d with minimums. */
  const codedRows = (seed: number) => {
    const next = uniform(seed), below = (count: number) => Math.floor(next() * count);
    const codes = Uint8Array.from({ length: 512 }, () => below(2 ** bits));
    const groups = Array.from({ length: grids }, (_, grid) => {
      const d = Math.f16round(2 ** (seed % 20 - 20) * (1 + Math.floor(grid * columns / 256) / 3));
      const n = (1 + below(limit)) * (symmetric && next() < 0.5 ? -1 : 1);
      return { d, n, m: symmetric ? n : below(limit + 1) };
    });
    const rows = {
      codes,
      scales: Float32Array.from(groups, ({ d, n }) => n * d),
      zeros: Float32Array.from(groups, ({ n, m }) => m * middle / n),
    };
    const weights = Array.from(codes, (code, i) => {
      const { d, n, m } = groups[Math.floor(i / columns)];
      return (n * code - m * middle) * d + 0;
    });
    return { rows, weights };
  };

  describe(label, () => {
    it("packCodes() writes blocks that are exactly the weights, and unpackBlocks() reads them", () => {
      for (let seed = 0; seed < 60; seed++) {
        const { rows, weights } = codedRows(seed), bytes = packCodes(format, rows);
        assert.deepEqual(
          weightsOf({ type: code, bytes }).map((weight) => weight + 0),
          weights,
          `seed ${seed}`,
        );
        assert.deepEqual(Array.from(unpackBlocks(format, bytes), (weight) => weight + 0), weights);
      }
    });
  });

  if (hasSuperBlocks(format)) {
    it(`packCodes() refuses scales without a common factor for ${label}`, () => {
      const { rows } = codedRows(1);
      rows.scales[1] = rows.scales[0] * 1.1;
      assert.throws(
        () => packCodes(format, rows),
        /are not multiples of a number in F16 up to \d+ times that number/,
      );
    });
    continue;
  }
  it(`packNearest() rounds each weight to the nearest of its block, and gives zeros the factor 0, in ${label}`, () => {
    const next = uniform(7), dense = Float32Array.from({ length: 64 }, (_, i) => i < 32 ? next() - 0.5 : 0);
    const factors: number[] = [],
      read = weightsOf({
        type: code,
        bytes: packNearest(format, dense, (factor) => factors.push(factor)),
      });
    const [d, none] = factors, largest = Math.max(...dense.map(Math.abs));
    assert.ok(Math.abs(Math.abs(d) - largest / (bits === 8 ? 127 : middle)) < 1e-7);
    assert.equal(Math.abs(none), 0);
    for (const [i, weight] of read.entries()) {
      const wanted = i < 32 ? Math.min(middle - 1, Math.max(-middle, dense[i] / d)) : 0;
      assert.ok(Math.abs(weight / d - wanted) <= 0.5 + middle * 2 ** -10, `weight ${i}`);
    }
  });
}
