/**
 * Tests the loss and the relative error of layers whose damping outweighs most of their statistics. H is the
 * identity except for one diagonal entry, which is so large that the damping, a fraction of the mean diagonal
 * entry, is larger than all others.
 */

import assert from "node:assert/strict";
import { it } from "@std/testing/bdd";
import type { Backend } from "../../src/device/backend.ts";
import { compressLayer } from "../../src/layer/compress_layer.ts";
import type { LayerParameters } from "../../src/layer/methods.ts";
import { quadraticForm } from "../reference/hessian.ts";
import { eachBackend } from "../support/backends.ts";
import { type HostLayer, readSolution, uploadHessian, uploadLayer } from "../support/layers.ts";
import { normals } from "../../scripts/fixtures/random.ts";

const ROWS = 16, COLS = 64;
const LARGEST_ENTRIES = [1, 1e4, 1e6, 1e8, 1e12, 1e16, 1e23, 1e30];
const DAMPINGS = [0.01, 0.1, 1];
const METHODS = ["sparsegpt", "magnitude", "wanda", "alps"] as const;
const BITS = { bits: 4, groupSize: 0, symmetric: false, order: "natural" } as const;
/** The largest difference from the float64 figure, as a fraction of this figure. */
const TOLERANCE = 0.01;

/** Returns the layer whose H is the identity except for H[0,0]. */
function layerWith(largest: number): HostLayer {
  const hessian = new Float32Array(COLS * COLS);
  for (let j = 0; j < COLS; j++) hessian[j * COLS + j] = j === 0 ? largest : 1;
  return { rows: ROWS, cols: COLS, weight: normals(ROWS * COLS, 3), hessian };
}

/** Solves the layer. Returns a message for each reported figure that is wrong or lacks its note. */
async function wrongFigures(
  backend: Backend,
  host: HostLayer,
  parameters: Pick<LayerParameters, "method" | "damping" | "refitSteps" | "quantization">,
): Promise<string[]> {
  const layer = uploadLayer(backend, host), hessian = uploadHessian(backend, host.hessian, COLS);
  const { solution, factor, report } = await compressLayer(backend, { layer, hessian }, {
    pattern: { kind: "unstructured" },
    sparsity: 0.5,
    effort: "fast",
    relativeError: true,
    blocksize: 32,
    ...parameters,
  }, () => 0);
  const { q } = await readSolution(backend, solution);
  for (const resource of [solution, layer, hessian]) resource.destroy();
  factor?.destroy();
  const loss = quadraticForm(host.weight.map((value, i) => value - q[i]), host.hessian, ROWS, COLS);
  const total = quadraticForm(host.weight, host.hessian, ROWS, COLS);
  const figures = [["loss", report.loss, loss], [
    "relative error",
    report.relative_error,
    loss / total,
  ]] as const;
  return figures.flatMap(([name, reported, exact]) => {
    if (reported === null) {
      return report.notes.some((note) => note.includes(name)) ? [] : [`${name}: no note`];
    }
    return Math.abs(reported - exact) <= TOLERANCE * exact ? [] : [`${name} is ${reported}, not ${exact}`];
  });
}

eachBackend("the loss of a layer whose damping outweighs its statistics", (backend) => {
  for (const method of METHODS) {
    for (const refitSteps of [0, 10]) {
      for (const quantization of [undefined, BITS]) {
        it(`is right or null for ${method}, ${refitSteps} steps of refit, ${quantization?.bits ?? 32} bits`, async () => {
          const wrong: string[] = [];
          for (const largest of LARGEST_ENTRIES) {
            for (const damping of DAMPINGS) {
              const parameters = { method, damping, refitSteps, quantization };
              const messages = await wrongFigures(backend(), layerWith(largest), parameters);
              wrong.push(...messages.map((text) => `H[0,0] ${largest}, damping ${damping}: ${text}`));
            }
          }
          assert.deepEqual(wrong, []);
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
        const parameters = { method, damping: 0.01, refitSteps: 10, quantization };
        assert.deepEqual(await wrongFigures(backend(), { ...layerWith(1), hessian }, parameters), []);
      }
    }
  });
});
