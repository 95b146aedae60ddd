/**
 * Prepares the diagonal of the calibration statistics H = Σ x·xᵀ for the factorisation (steps 1 and 2 of
 * `src/layer/solvers/README.md`), on the CPU. An input is dead if it was 0 in every calibration token.
 */

import type { Backend } from "../../device/backend.ts";
import type { TiledMatrix } from "../../device/tiled_matrix.ts";
import { getDiagonal, setDiagonal } from "../../device/kernels/diagonal.ts";
import { InvalidStatisticsError } from "./errors.ts";

export async function readDiagonal(
  backend: Backend,
  matrix: TiledMatrix,
): Promise<Float32Array<ArrayBuffer>> {
  const diagonal = backend.createBuffer("diagonal", 4 * matrix.cols);
  try {
    for (let i = 0; i < matrix.tileRows; i++) {
      const { buffer: tile, rows: count, ld, row0: first } = matrix.tile(i, i);
      backend.dispatch(getDiagonal, { tile, diagonal }, { count, row: 0, col: 0, ld, first });
    }
    return new Float32Array((await backend.read(diagonal, 0, 4 * matrix.cols)).buffer);
  } finally {
    diagonal.destroy();
  }
}

export interface PreparedDiagonal {
  /** (n) f32: the diagonal of H, with 1 at dead inputs. */
  readonly values: Float32Array;
  /** (n) u32: 1 at dead inputs and 0 elsewhere. Undefined if no input is dead. */
  readonly dead: Uint32Array<ArrayBuffer> | undefined;
  /** The mean of `values`, computed in float64. */
  readonly mean: number;
}

/**
 * Replaces the zeros of dead inputs in a copy of `diagonal`, (n) f32, by ones.
 * @throws {InvalidStatisticsError} naming the first entry that is negative or not finite
 */
export function prepareDiagonal(diagonal: Float32Array): PreparedDiagonal {
  const values = diagonal.slice(), flags = new Uint32Array(diagonal.length);
  let sum = 0, anyDead = false;
  diagonal.forEach((value, index) => {
    if (!(value >= 0 && value < Infinity)) throw new InvalidStatisticsError(index, value);
    if (value === 0) {
      anyDead = true;
      flags[index] = 1;
      values[index] = 1;
    }
    sum += values[index];
  });
  return { values, dead: anyDead ? flags : undefined, mean: sum / diagonal.length };
}

/**
 * Returns a copy of the diagonal with `added` added to every entry, rounded to f32.
 * @throws {InvalidStatisticsError} naming the first entry that is then too large for f32
 */
export function addDamping(values: Float32Array, added: number): Float32Array {
  const damped = values.map((value) => value + added);
  const overflow = damped.findIndex((value) => !Number.isFinite(value));
  if (overflow >= 0) {
    const message =
      `statistics: diagonal entry ${overflow} is ${values[overflow]}, which is too large for f32 after the ` +
      `damping of ${added} is added`;
    throw new InvalidStatisticsError(overflow, damped[overflow], message);
  }
  return damped;
}

/** Queues writing `values`, (n) f32, to the diagonal of `matrix`. */
export function writeDiagonal(backend: Backend, matrix: TiledMatrix, values: Float32Array): void {
  const diagonal = backend.createBuffer("diagonal", 4 * matrix.cols);
  backend.write(diagonal, 0, new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
  for (let i = 0; i < matrix.tileRows; i++) {
    const { buffer: tile, rows: count, ld, row0: first } = matrix.tile(i, i);
    backend.dispatch(setDiagonal, { diagonal, tile }, { count, ld, first });
  }
  diagonal.destroy();
}

/** The smallest damping of a retry, from the code that the authors of SparseGPT published. */
const SMALLEST_RETRY = 0.01;
/** The largest damping of a retry. With more, the added multiple of the identity would outweigh the statistics. */
const LARGEST_RETRY = 1;

/**
 * Returns the damping to try after `failed`, or undefined after the largest. It grows by a factor of 10, from at least
 * 0.01, because smaller dampings rarely make an f32 matrix positive definite and each attempt costs a factorisation.
 */
export function nextDamping(failed: number): number | undefined {
  if (failed >= LARGEST_RETRY) return undefined;
  return Math.min(LARGEST_RETRY, Math.max(SMALLEST_RETRY, 10 * failed));
}
