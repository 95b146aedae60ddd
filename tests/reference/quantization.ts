/**
 * The grids of GPTQ in naive float64, following the `Quantizer` of its published code (arXiv 2210.17323). Every
 * grid contains 0. A grid has the values (code − zero)·scale for the codes 0 … 2^bits − 1.
 *
 * Where a number lies very close to the middle of two integers, rounding errors of f32 decide how it is rounded.
 * With a symmetric grid this happens to the weight with the largest magnitude whenever that weight is negative. To
 * compare everything else exactly, the functions can follow the decision of the code under test in these cases.
 */

/** The largest distance from the middle of two integers at which the code under test is followed. */
const NEAR_TIE = 2e-3;

/** A grid of 2^bits values. */
export interface ReferenceGrid {
  readonly scale: number;
  readonly zero: number;
}

/**
 * Rounds to the nearest integer, ties to even. If `x` is very close to a tie, the result is `followed`, provided
 * that it is one of the two integers next to `x`.
 */
export function roundHalfEven(x: number, followed?: number): number {
  const floor = Math.floor(x), rest = x - floor;
  if (
    followed !== undefined && Math.abs(rest - 0.5) < NEAR_TIE &&
    (followed === floor || followed === floor + 1)
  ) {
    return followed;
  }
  if (rest !== 0.5) return Math.round(x);
  return floor % 2 === 0 ? floor : floor + 1;
}

/** Returns the grid of some weights. `followedZero` is the zero point that the code under test computed. */
export function gridOf(
  weights: readonly number[],
  bits: number,
  symmetric: boolean,
  followedZero?: number,
): ReferenceGrid {
  const codes = 2 ** bits - 1;
  if (symmetric) {
    const largest = Math.max(0, ...weights.map(Math.abs));
    return { scale: largest === 0 ? 1 : 2 * largest / codes, zero: 2 ** (bits - 1) };
  }
  const low = Math.min(0, ...weights), high = Math.max(0, ...weights);
  const scale = low === high ? 1 : (high - low) / codes;
  return { scale, zero: roundHalfEven((0 - low) / scale, followedZero) };
}

/** Returns the code of the grid value that is nearest to `weight`. `followedCode` is the code that the code under test computed. */
export function codeOf(
  weight: number,
  { scale, zero }: ReferenceGrid,
  bits: number,
  followedCode?: number,
): number {
  const followed = followedCode === undefined ? undefined : followedCode - zero;
  return Math.max(0, Math.min(2 ** bits - 1, roundHalfEven(weight / scale, followed) + zero));
}
