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
  scaleDtype = 0,
): ReferenceGrid {
  const codes = 2 ** bits - 1;
  if (symmetric) {
    const largest = Math.max(0, ...weights.map(Math.abs));
    return {
      scale: roundedScale(largest === 0 ? 1 : 2 * largest / codes, scaleDtype),
      zero: 2 ** (bits - 1),
    };
  }
  const low = Math.min(0, ...weights), high = Math.max(0, ...weights);
  const scale = roundedScale(low === high ? 1 : (high - low) / codes, scaleDtype);
  return { scale, zero: Math.min(codes, roundHalfEven((0 - low) / scale, followedZero)) };
}

/** The choices of the code under test: codes (rows, cols), and the zeros and scales (rows, grids) of its grids. */
export interface Followed {
  readonly codes: ArrayLike<number>;
  readonly zeros: ArrayLike<number>;
  readonly scales?: ArrayLike<number>;
}

/** Returns grid `at` of the code under test, if it is known. */
export function followedGrid(follow: Followed | undefined, at: number): ReferenceGrid | undefined {
  return follow?.scales && { scale: follow.scales[at], zero: follow.zeros[at] };
}

/** Rounds a scale to f32 (0), f16 (1) or bf16 (2), but not to 0 and not to infinity. */
export function roundedScale(scale: number, dtype: number): number {
  if (dtype === 0) return scale;
  const [bits, lowest, largest] = dtype === 1 ? [11, -14, 65504] : [8, -126, Infinity];
  const magnitude = Math.abs(Math.fround(scale));
  const exponent = Math.max(lowest, Math.floor(Math.log2(magnitude)));
  const unit = 2 ** (exponent - bits + 1);
  const units = roundHalfEven(magnitude / unit);
  return Math.sign(scale) * Math.min(largest, Math.max(1, units) * unit);
}

/** How grids are searched. */
export interface SearchOptions {
  readonly bits: number;
  readonly symmetric: boolean;
  readonly scaleDtype?: number;
}

/** Returns the grid from which a search starts. A symmetric one has the weight with the largest magnitude as its lowest value. */
export function startOfSearch(
  weights: readonly number[],
  { bits, symmetric, scaleDtype = 0 }: SearchOptions,
): ReferenceGrid {
  const largestCode = 2 ** bits - 1, middle = 2 ** (bits - 1);
  const low = Math.min(0, ...weights), high = Math.max(0, ...weights);
  if (symmetric) {
    const extreme = -low >= high ? low : high;
    return { scale: roundedScale(extreme === 0 ? 1 : -extreme / middle, scaleDtype), zero: middle };
  }
  const scale = roundedScale(low === high ? 1 : (high - low) / largestCode, scaleDtype);
  return { scale, zero: Math.min(largestCode, roundHalfEven((0 - low) / scale)) };
}

/** Returns the 16 candidates of a stage of the search. The first one is `start`. */
export function candidatesOf(
  { scale, zero }: ReferenceGrid,
  stage: number,
  { bits, symmetric, scaleDtype = 0 }: SearchOptions,
): ReferenceGrid[] {
  const grid = (factor: number, shift = 0) => ({
    scale: roundedScale(scale * factor, scaleDtype),
    zero: Math.max(0, Math.min(2 ** bits - 1, zero + shift)),
  });
  const all: ReferenceGrid[] = [];
  for (let k = 0; k < 16; k++) {
    if (stage === 0) all.push(grid(12 / (10 + k)));
    else if (symmetric) all.push(grid(1 + (k - 8) / 128));
    else all.push(grid(1 + (k % 5 - 2) / 40, Math.floor(k / 5) - 1));
  }
  const neutral = stage === 0 ? 2 : symmetric ? 8 : 7;
  const rotated = [...all.slice(neutral), ...all.slice(0, neutral)];
  rotated[0] = { scale, zero };
  return rotated;
}

/** Σ (importance·(weight − the nearest value of the grid))². */
export function errorOfGrid(
  weights: readonly number[],
  importance: readonly number[],
  grid: ReferenceGrid,
  bits: number,
): number {
  return weights.reduce((sum, weight, i) => {
    const value = (codeOf(weight, grid, bits) - grid.zero) * grid.scale;
    return sum + (importance[i] * (weight - value)) ** 2;
  }, 0);
}

/** Errors whose relative difference is smaller may have another order in f32. */
const NEAR_ERROR = 1e-4;

/**
 * Searches the grid of some weights in two stages. If the errors of several candidates are very close, the result is
 * `followed`, which the code under test found, provided that it is one of them.
 */
export function searchGrid(
  weights: readonly number[],
  importance: readonly number[],
  options: SearchOptions,
  followed?: ReferenceGrid,
): ReferenceGrid {
  let starts = [startOfSearch(weights, options)];
  const [start] = starts;
  if (followed && Math.abs(Math.abs(Math.min(0, ...weights) / start.scale) % 1 - 0.5) < NEAR_TIE) {
    starts.push(...[-1, 1].map((shift) => ({ ...start, zero: start.zero + shift })));
  }
  for (const stage of [0, 1]) {
    starts = starts.flatMap((from) => {
      const tried = candidatesOf(from, stage, options);
      const errors = tried.map((grid) => errorOfGrid(weights, importance, grid, options.bits));
      const best = errors.indexOf(Math.min(...errors));
      const near = tried.filter((_, n) => n !== best && errors[n] <= errors[best] * (1 + NEAR_ERROR));
      return [tried[best], ...followed ? near : []];
    });
  }
  if (!followed) return starts[0];
  // In each stage, the next number of the dtype may have been chosen where the scale is very close to the middle of two numbers.
  const nearest = [1e-5, 2 ** -9, 2 ** -6][options.scaleDtype ?? 0];
  const isFollowed = ({ scale, zero }: ReferenceGrid) =>
    zero === followed.zero && Math.abs(scale - followed.scale) <= nearest * Math.abs(scale);
  const found = starts.find(isFollowed);
  return found ? { ...found, scale: options.scaleDtype ? followed.scale : found.scale } : starts[0];
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
