/**
 * The diagonal of H before the factorisation (DESIGN §3.1–2): refuses what no Σ x xᵀ has, gives dead inputs a diagonal of 1, and says
 * how much damping to add and what to try next. Host arithmetic in float64 only.
 */

import { InvalidStatisticsError } from "./errors.ts";

/** The diagonal as the factorisation takes it, before damping. */
export interface LiveDiagonal {
  /** (n) diag H, 1 at dead columns. */
  readonly values: Float32Array;
  /** (n) 1 at dead columns; undefined when there is none. */
  readonly dead: Uint32Array<ArrayBuffer> | undefined;
  /** Mean of `values`. */
  readonly mean: number;
}

/** The damping a first failure is retried with at least: the published default. */
const FIRST_RETRY = 0.01;
/** Past it the statistics would weigh less than the identity: an answer would no longer be about them. */
const LARGEST_RETRY = 1;

/** @throws {InvalidStatisticsError} on a negative or non-finite entry, naming the first */
export function liveDiagonal(diagonal: Float32Array): LiveDiagonal {
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

/** diag H + `added`, in f32. */
export function damped(values: Float32Array, added: number): Float32Array {
  return values.map((value) => value + added);
}

/**
 * The damping to try after `failed`: ten times as much, at most 1, and at least 0.01, because from 0 there is no ten times, and a step
 * below that seldom cures an f32 matrix while each costs a factorisation. Undefined past the last.
 */
export function nextDamping(failed: number): number | undefined {
  if (failed >= LARGEST_RETRY) return undefined;
  return Math.min(LARGEST_RETRY, Math.max(FIRST_RETRY, 10 * failed));
}
