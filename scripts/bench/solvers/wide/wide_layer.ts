/**
 * Makes synthetic layers for the solvers bench, which are as wide as the layers of large models. Input
 * vectors of real layers have two properties: the eigenvalues of their statistics decay, and some features
 * are much larger than others. The synthetic input vectors x have both properties:
 *
 *     x = c ⊙ (T·(√λ ⊙ z))
 *
 * - z is a vector of n standard normal numbers.
 * - λ_i = 1/i, for i = 1 … n, are the eigenvalues.
 * - T is a random orthogonal matrix. It changes random signs and then applies a Walsh–Hadamard transform,
 *   twice. A product with T therefore takes only about n·log n operations.
 * - c_j = exp(g_j/2) is the size of feature j, where g_j is a standard normal number.
 *
 * The statistics are H = Σ x·xᵀ over 4·n input vectors. The weights are standard normal.
 */

import type { Backend } from "../../../../src/backend/backend.ts";
import { TiledMatrix, writeMatrix } from "../../../../src/backend/tiled_matrix.ts";
import { HessianAccumulator } from "../../../../src/calibration/hessian.ts";
import { normals, uniform } from "../../../../tests/support/random.ts";

/** A layer on the device. The caller frees both matrices. */
export interface WideLayer {
  /** (n, n) f32. */
  readonly weight: TiledMatrix;
  /** (n, n) f32. Only the tiles on and above the diagonal are stored. */
  readonly hessian: TiledMatrix;
}

/** The number of input vectors divided by the number of columns of the layer. */
const INPUTS_PER_COLUMN = 4;
/** The number of input vectors that are generated and added to the statistics at a time. */
const BATCH = 512;
/** The spread of the sizes c of the features: c_j = exp(SPREAD·g_j). */
const SPREAD = 0.5;

/** Makes a layer with `n` rows and columns, where `n` is a power of two. Equal seeds give equal layers. */
export async function makeWideLayer(backend: Backend, n: number, seed = 1): Promise<WideLayer> {
  const spectrum = Float32Array.from({ length: n }, (_, i) => 1 / Math.sqrt(i + 1));
  const sizes = normals(n, seed).map((g) => Math.exp(SPREAD * g));
  const signs = [seed + 1, seed + 2].map((signSeed) => {
    const next = uniform(signSeed);
    return Float32Array.from({ length: n }, () => next() < 0.5 ? -1 : 1);
  });
  const statistics = new HessianAccumulator(backend, "hessian", n);
  const inputs = backend.createBuffer("inputs", 4 * BATCH * n);
  const count = INPUTS_PER_COLUMN * n;
  for (let first = 0; first < count; first += BATCH) {
    const size = Math.min(BATCH, count - first), batch = normals(size * n, seed + 3 + first);
    for (let row = 0; row < size; row++) {
      const x = batch.subarray(row * n, (row + 1) * n);
      multiply(x, spectrum);
      for (const sign of signs) {
        multiply(x, sign);
        hadamard(x);
      }
      multiply(x, sizes);
    }
    backend.write(inputs, 0, new Uint8Array(batch.buffer));
    statistics.add(inputs, size);
    await backend.finish();
  }
  inputs.destroy();
  const weight = new TiledMatrix(backend, { label: "weight", rows: n, cols: n });
  writeMatrix(backend, weight, normals(n * n, seed));
  return { weight, hessian: statistics.take() };
}

function multiply(x: Float32Array, factors: Float32Array): void {
  for (let i = 0; i < x.length; i++) x[i] *= factors[i];
}

/** Applies the orthogonal Walsh–Hadamard transform to `x` in place. The length of `x` is a power of two. */
function hadamard(x: Float32Array): void {
  for (let half = 1; half < x.length; half *= 2) {
    for (let start = 0; start < x.length; start += 2 * half) {
      for (let i = start; i < start + half; i++) {
        const a = x[i], b = x[i + half];
        x[i] = a + b;
        x[i + half] = a - b;
      }
    }
  }
  const scale = 1 / Math.sqrt(x.length);
  for (let i = 0; i < x.length; i++) x[i] *= scale;
}
