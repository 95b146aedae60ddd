/**
 * Synthetic layers for the solvers bench whose width is that of large models. The inputs of real layers have
 * statistics with a decaying spectrum, and some inputs are much larger than others, so the synthetic ones have
 * both properties:
 *
 *     x = c ⊙ (T·(√λ ⊙ z))
 *
 * z is standard normal, λ_i = 1/i for i = 1 … n is the spectrum, T is a random orthogonal matrix, and c_j is
 * exp(g_j/2) with a standard normal g_j. T is the product of two random sign changes, each followed by a
 * Walsh–Hadamard transform, because that takes n·log n operations for each input. The statistics are
 * H = Σ x·xᵀ over 4·n inputs. The weights are standard normal.
 */

import type { Backend } from "../../../../src/backend/backend.ts";
import { TiledMatrix, writeMatrix } from "../../../../src/backend/tiled_matrix.ts";
import { HessianAccumulator } from "../../../../src/calibration/hessian.ts";
import { normals, uniform } from "../../../../tests/support/random.ts";

/** A layer on the device. The caller frees both matrices. */
export interface WideLayer {
  /** (n, n) f32. */
  readonly weight: TiledMatrix;
  /** (n, n) f32, upper storage. */
  readonly hessian: TiledMatrix;
}

/** Inputs per column of the layer. */
const INPUTS_PER_COLUMN = 4;
/** Inputs that are generated and added to the statistics at a time. */
const BATCH = 512;
/** The spread of the sizes of the inputs: c = exp(SPREAD·g). */
const SPREAD = 0.5;

/** Makes a layer of order `n`, a power of two. Equal seeds give equal layers. */
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

/** The orthogonal Walsh–Hadamard transform of `x`, in place. The length is a power of two. */
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
