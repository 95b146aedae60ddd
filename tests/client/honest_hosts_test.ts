/**
 * Tests that the client accepts every answer of an honest host: of every method, with and without rounding, with inputs that were always 0, with
 * masks, and with weights at the bottom of the range of their dtype.
 */

import { after, describe, it } from "@std/testing/bdd";
import { openLocalHost } from "../support/local_host.ts";
import { PareError } from "../../src/client/errors.ts";
import type { LayerTensors } from "../../src/client/layer_file.ts";
import type { LayerQuery } from "../../src/protocol/layer_query.ts";
import { METHOD_NAMES } from "../../src/protocol/methods.ts";
import { type FloatDtype, floatsToBytes } from "../../src/tensor/dtype.ts";
import { correlatedHessian } from "../reference/hessian.ts";
import { normals } from "../../scripts/fixtures/random.ts";
import { f32, maskOf } from "./fake_host.ts";

const QUERIES: readonly LayerQuery[] = [
  {},
  { sparsity: 0 },
  { sparsity: 0.999 },
  { pattern: "2:4" },
  { pattern: "3:7", dtype: "F16" },
  { bits: 2 },
  { bits: 4, symmetric: true, dtype: "BF16" },
  { bits: 3, sparsity: 0.9 },
];

/** Makes a layer. If `isHard`, half of its inputs were always 0, its weights are tiny, and it has a mask. */
function layerOf(rows: number, cols: number, dtype: FloatDtype, isHard: boolean): LayerTensors {
  const hessian = correlatedHessian(cols, { seed: 2 }), values = normals(rows * cols, 1);
  if (isHard) {
    for (let i = 0; i < hessian.length; i++) {
      if (Math.min(i % cols, Math.floor(i / cols)) < cols / 2) hessian[i] = 0;
    }
    values.forEach((value, i) => values[i] = 1e-7 * value);
  }
  return {
    weight: { dtype, shape: [rows, cols], data: floatsToBytes(values, dtype) },
    hessian: f32([cols, cols], [...hessian]),
    mask: isHard ? maskOf(rows, cols, (entry) => entry % 7 > 0) : undefined,
  };
}

const host = await openLocalHost("cpu");
after(() => host[Symbol.asyncDispose]());

describe("Pare.pruneLayer() of an honest host", () => {
  for (const dtype of ["F32", "F16", "BF16"] as const) {
    it(`accepts all answers for ${dtype} weights`, async () => {
      for (
        const [rows, cols, isHard] of [[1, 5, false], [1, 5, true], [7, 13, false], [7, 13, true]] as const
      ) {
        const tensors = layerOf(rows, cols, dtype, isHard);
        for (const method of METHOD_NAMES) {
          for (const query of QUERIES) {
            await host.pare.pruneLayer(tensors, { ...query, method }).catch((error) => {
              if (!(error instanceof PareError)) throw error; // the host may refuse weights that the dtype cannot hold
            });
          }
        }
      }
    });
  }
});
