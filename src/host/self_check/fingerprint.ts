/**
 * Condenses the output of a kernel to a few numbers, so that the expected results of all cases fit into a small file.
 * Exact outputs become one hash. Rounded outputs become sums, one for each 64 consecutive elements. Every element
 * of a sum has its own factor with a magnitude from 0.5 to 1.5, so an error changes the sum by at least half of itself.
 */

import { generator, type Values } from "../../device/kernels/kernel_case.ts";

const ELEMENTS_PER_SUM = 64;

/** The hash of exact bits, or the largest magnitude and the sums of rounded floats. */
export type ResultFingerprint = string | { readonly largest: number; readonly sums: readonly number[] };

/** Returns the hash of the bits of `values` (FNV-1a over words). Elements that `includes` rejects do not count. */
export function hashBits(values: Values, includes?: (index: number) => boolean): string {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  let hash = 0x811c9dc5;
  bits.forEach((word, i) => {
    if (includes && !includes(i)) return;
    for (let shift = 0; shift < 32; shift += 8) hash = Math.imul(hash ^ ((word >>> shift) & 255), 0x01000193);
  });
  return (hash >>> 0).toString(16).padStart(8, "0");
}

/** The factors of 64 consecutive elements. */
const FACTORS: readonly number[] = (() => {
  const next = generator(1);
  return Array.from({ length: ELEMENTS_PER_SUM }, () => {
    const word = next();
    return (word & 1 ? 1 : -1) * (0.5 + (word >>> 8) / 2 ** 24);
  });
})();

/** Returns the sums of `values`. Elements that `includes` rejects count as 0. */
export function sumElements(values: ArrayLike<number>, includes?: (index: number) => boolean): number[] {
  const sums = new Array<number>(Math.ceil(values.length / ELEMENTS_PER_SUM)).fill(0);
  for (let i = 0; i < values.length; i++) {
    if (includes && !includes(i)) continue;
    sums[Math.floor(i / ELEMENTS_PER_SUM)] += FACTORS[i % ELEMENTS_PER_SUM] * values[i];
  }
  return sums;
}

/** Returns Σ |factor| of sum `index`. An error of ε in every element changes the sum by at most ε times this number. */
function sumOfFactors(index: number, length: number, includes?: (index: number) => boolean): number {
  const first = index * ELEMENTS_PER_SUM;
  return FACTORS.slice(0, length - first).reduce(
    (sum, factor, i) => includes && !includes(first + i) ? sum : sum + Math.abs(factor),
    0,
  );
}

/**
 * Compares an output with its committed fingerprint.
 * @param roundings see `CaseOutput.roundings`
 * @returns the difference as a phrase, or undefined if there is none
 */
export function describeDifference(
  values: Values,
  expected: ResultFingerprint,
  { roundings = 0, includes }: { roundings?: number; includes?: (index: number) => boolean },
): string | undefined {
  if (typeof expected === "string") {
    const hash = hashBits(values, includes);
    return hash === expected ? undefined : `its bits have the hash ${hash} instead of ${expected}`;
  }
  const floats = new Float32Array(values.buffer, values.byteOffset, values.length);
  const sums = sumElements(floats, includes), tolerance = roundings * 2 ** -24 * expected.largest;
  const allowed = sums.map((_, i) => tolerance * sumOfFactors(i, values.length, includes));
  const wrong = sums.findIndex((sum, i) => !(Math.abs(sum - expected.sums[i]) <= allowed[i]));
  if (wrong < 0 && sums.length === expected.sums.length) return undefined;
  const first = wrong * ELEMENTS_PER_SUM, last = Math.min(first + ELEMENTS_PER_SUM, values.length) - 1;
  return `the weighted sum of its elements ${first} to ${last} is ${sums[wrong]} instead of ${
    expected.sums[wrong]
  }, ` +
    `but rounding explains at most ${allowed[wrong].toPrecision(2)}`;
}
