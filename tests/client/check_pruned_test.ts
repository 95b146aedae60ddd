/** Tests checkPruned(), which refuses answers that are not the layer that was asked for. */

import { describe, it } from "@std/testing/bdd";
import assert from "node:assert/strict";
import { checkPruned } from "../../src/client/answers/check_pruned.ts";
import { MalformedAnswerError } from "../../src/client/errors.ts";
import type { PrunedLayer } from "../../src/client/layer_file.ts";
import { floatsToBytes } from "../../src/tensor/convert.ts";
import type { FloatDtype } from "../../src/tensor/dtype.ts";
import { report } from "./fake_host.ts";

const HALF = [0, 2, -0, 4, 5, 0, 7, 0];

function layer(values: readonly number[], shape = [2, 4], dtype: FloatDtype = "F32"): PrunedLayer {
  const weight = { dtype, shape, data: floatsToBytes(Float32Array.from(values), dtype) };
  const mask = { dtype: "U8" as const, shape: [2, 1], data: new Uint8Array(2) };
  return { weight, mask, report: report(2, 4) };
}

const { weight: DENSE } = layer([1, 2, 3, 4, 5, 6, 7, 8]);

describe("checkPruned()", () => {
  it("accepts the layer that was asked for, in every dtype", () => {
    for (const dtype of ["F32", "F16", "BF16"] as const) {
      checkPruned(layer(HALF, [2, 4], dtype), DENSE, { dtype });
      checkPruned(layer(HALF, [2, 4], dtype), { ...DENSE, dtype }, { pattern: "2:4" });
    }
  });

  for (
    const [what, answer, query, message] of [
      ["another shape", layer(HALF, [4, 2]), {}, /the weight is F32 \[4,2\] instead of F32 \[2,4\]/],
      ["another dtype", layer(HALF, [2, 4], "F16"), {}, /the weight is F16 \[2,4\] instead of F32/],
      [
        "fewer zeros than its report says",
        layer([1, ...HALF.slice(1)]),
        { sparsity: 0.25 },
        /3 zeros, but its report says 4/,
      ],
      [
        "fewer zeros than the query asks for",
        layer(HALF),
        { sparsity: 0.75 },
        /4 zeros, but the query asks for 6/,
      ],
      [
        "fewer zeros than the pattern asks for",
        layer(HALF),
        { pattern: "1:4" },
        /4 zeros, but the query asks for 6/,
      ],
    ] as const
  ) {
    it(`refuses an answer with ${what}`, () => {
      assert.throws(() => checkPruned(answer, DENSE, query), (error: Error) => {
        assert.ok(error instanceof MalformedAnswerError);
        assert.match(error.message, message);
        return true;
      });
    });
  }
});
