/**
 * Tests the loss and the relative error of layers whose damping outweighs most of their statistics. H is the
 * identity except for one diagonal entry, which is so large that the damping, a fraction of the mean diagonal
 * entry, is larger than all others.
 */

import { it } from "@std/testing/bdd";
import { eachBackend } from "../support/backends.ts";
import { compressHost } from "../support/compress_host.ts";
import type { HostLayer } from "../support/layers.ts";
import { normals } from "../../scripts/fixtures/random.ts";

const ROWS = 16, COLS = 64;
const LARGEST_ENTRIES = [1, 1e4, 1e6, 1e8, 1e12, 1e16, 1e23, 1e30];
const DAMPINGS = [0.01, 0.1, 1];
const METHODS = ["sparsegpt", "magnitude", "wanda", "alps"] as const;
const BITS = { bits: 4, groupSize: 0, symmetric: false, order: "natural" } as const;

/** Returns the layer whose H is the identity except for H[0,0]. */
function layerWith(largest: number): HostLayer {
  const hessian = new Float32Array(COLS * COLS);
  for (let j = 0; j < COLS; j++) hessian[j * COLS + j] = j === 0 ? largest : 1;
  return { rows: ROWS, cols: COLS, weight: normals(ROWS * COLS, 3), hessian };
}

eachBackend("the loss of a layer whose damping outweighs its statistics", (backend) => {
  for (const method of METHODS) {
    for (const refitSteps of [0, 10]) {
      for (const quantization of [undefined, BITS]) {
        it(`is right or null for ${method}, ${refitSteps} steps of refit, ${quantization?.bits ?? 32} bits`, async () => {
          for (const largest of LARGEST_ENTRIES) {
            for (const damping of DAMPINGS) {
              const options = { method, damping, refitSteps, quantization, effort: "fast" } as const;
              await compressHost(backend(), layerWith(largest), options);
            }
          }
        });
      }
    }
  }

  it("does not count the weights of dead inputs, whose statistics are 0 without damping", async () => {
    const hessian = Float32Array.from({ length: COLS * COLS }, (_, i) => i % (COLS + 1) === 0 ? 1e-8 : 0);
    const dead = [3, 40];
    for (const j of dead) hessian[j * (COLS + 1)] = 0;
    for (const method of ["magnitude", "wanda"] as const) {
      for (const quantization of [undefined, BITS]) {
        await compressHost(backend(), { ...layerWith(1), hessian }, { method, refitSteps: 10, quantization });
      }
    }
  });
});
