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
  /** The code of the weight 0, which lies between two codes if 0 is not a value of the grid. */
  readonly zero: number;
  /** By how much the values lie below the multiples of the scale. The exact (zero − ⌊zero⌋)·scale. @default 0 */
  readonly offset?: number;
}

/** The value of a code. */
export function valueOf(code: number, { scale, zero, offset = 0 }: ReferenceGrid): number {
  return (code - Math.floor(zero)) * scale - offset;
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

/** The rule by which the scales of grids are rounded. */
export interface ScaleRule {
  readonly scaleDtype?: number;
  /** The factor of scales with two levels, and the largest integer by which it is multiplied. */
  readonly levels?: ScaleLevels;
}

export interface ScaleLevels {
  readonly factor: number;
  readonly limit: number;
  /** Whether the grid need not contain 0. */
  readonly isFree?: boolean;
}

/**
 * Returns the grid of some weights in the published range. `followedZero` is the zero point that the code under test computed. A scale with
 * two levels is rounded after the zero is computed.
 */
export function gridOf(
  weights: readonly number[],
  bits: number,
  symmetric: boolean,
  followedZero?: number,
  rule: ScaleRule = {},
): ReferenceGrid {
  const exact = exactScale(weights, { bits, symmetric });
  return zeroAndScale(exact === 0 ? 1 : exact, weights, { bits, symmetric, ...rule }, followedZero);
}

/** The scale of a grid before it is rounded. The scale of a search is from the weight with the largest magnitude. */
function exactScale(
  weights: readonly number[],
  { bits, symmetric }: SearchOptions,
  isSearched = false,
): number {
  const low = Math.min(0, ...weights), high = Math.max(0, ...weights), codes = 2 ** bits - 1;
  if (!symmetric) return (high - low) / codes;
  if (isSearched) return (-low >= high ? -low : -high) / 2 ** (bits - 1);
  return 2 * Math.max(-low, high) / codes;
}

function zeroAndScale(
  exact: number,
  weights: readonly number[],
  options: SearchOptions,
  followedZero?: number,
): ReferenceGrid {
  const { bits, symmetric, scaleDtype = 0, levels } = options;
  const scale = levels ? exact : roundedScale(exact, scaleDtype),
    quotient = (0 - Math.min(0, ...weights)) / scale;
  const nearest = levels?.isFree ? quotient : roundHalfEven(quotient, followedZero);
  const zero = symmetric ? 2 ** (bits - 1) : Math.min(2 ** bits - 1, nearest);
  return levels ? onLevels({ scale, zero }, bits, levels) : { scale, zero };
}

/**
 * Rounds the scale of a grid to the nearest allowed multiple n·factor. An integer n is allowed if n·zero is a multiple m of the middle
 * code, and if neither n nor m exceeds the limit. For a free grid, every n is allowed, and the zero is rounded to an m.
 */
function onLevels(
  { scale, zero }: ReferenceGrid,
  bits: number,
  { factor, limit, isFree }: ScaleLevels,
): ReferenceGrid {
  const middle = 2 ** (bits - 1),
    allowed = Array.from({ length: limit }, (_, i) => i + 1)
      .filter((n) => isFree || Number.isInteger(n * zero / middle) && n * zero / middle <= limit);
  // They are the multiples of the first one. In the middle of two, the larger one is chosen.
  const [unit] = allowed, nearest = Math.floor(Math.abs(scale) / factor / unit + 0.501) * unit;
  const n = Math.max(unit, Math.min(allowed.at(-1)!, nearest)), rounded = Math.sign(scale) * n * factor;
  if (!isFree) return { scale: rounded, zero };
  const most = Math.min(limit, Math.floor((2 ** bits - 1) * n / middle));
  const minimum = Math.min(most, Math.floor(zero * n / middle + 0.501)) * middle;
  return { scale: rounded, zero: Math.fround(minimum / n), offset: minimum % n * factor };
}

/**
 * Returns the factor of the scales of a super-block, with which the integers of all groups are at most `limit`.
 * @param groups the weights of the groups
 * @param followed the scales of the code under test. If the factor lies very close to the middle of two numbers of the dtype, they decide
 */
export function factorOf(
  groups: readonly (readonly number[])[],
  options: SearchOptions & { readonly limit: number; readonly isSearched?: boolean },
  followed: readonly number[] = [],
): number {
  const { bits, scaleDtype = 0, limit, isSearched } = options;
  const least = groups.map((weights) =>
    Math.max(
      Math.abs(exactScale(weights, options, isSearched)),
      -Math.min(0, ...weights) / 2 ** (bits - 1),
    ) / limit
  );
  const exact = Math.max(...least), unrounded = exact < 2 ** -126 ? 1 : exact;
  const near = [1, 1 - 1e-5, 1 + 1e-5].map((change) => roundedScale(unrounded * change, scaleDtype));
  const fits = (factor: number) =>
    followed.every((scale) => Math.abs(scale / factor - Math.round(scale / factor)) < 1e-4);
  return near.find(fits) ?? near[0];
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
export interface SearchOptions extends ScaleRule {
  readonly bits: number;
  readonly symmetric: boolean;
}

/** Returns the grid from which a search starts. A symmetric one has the weight with the largest magnitude as its lowest value. */
export function startOfSearch(weights: readonly number[], options: SearchOptions): ReferenceGrid {
  const exact = exactScale(weights, options, true);
  return zeroAndScale(exact === 0 ? 1 : exact, weights, options);
}

/** Returns the 16 candidates of a stage of the search. The first one is `start`. */
export function candidatesOf(
  start: ReferenceGrid,
  stage: number,
  { bits, symmetric, scaleDtype = 0, levels }: SearchOptions,
): ReferenceGrid[] {
  const { scale, zero } = start;
  const grid = (factor: number, shift = 0) => {
    const codes = levels?.isFree ? shift / 4 : shift, exact = scale * factor;
    const moved = Math.max(0, Math.min(2 ** bits - 1, zero + codes));
    if (levels) return onLevels({ scale: exact, zero: moved }, bits, levels);
    return { scale: roundedScale(exact, scaleDtype), zero: moved };
  };
  const all: ReferenceGrid[] = [];
  for (let k = 0; k < 16; k++) {
    if (stage === 0) all.push(grid(12 / (10 + k)));
    else if (symmetric) all.push(grid(1 + (k - 8) / 128));
    else all.push(grid(1 + (k % 5 - 2) / 40, Math.floor(k / 5) - 1));
  }
  const neutral = stage === 0 ? 2 : symmetric ? 8 : 7;
  const rotated = [...all.slice(neutral), ...all.slice(0, neutral)];
  rotated[0] = start;
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
    const value = valueOf(codeOf(weight, grid, bits), grid);
    return sum + (importance[i] * (weight - value)) ** 2;
  }, 0);
}

/**
 * Errors whose relative difference is smaller may have another order in f32, and so may those of which the roots differ by less than a
 * rounding error of the weights.
 */
const NEAR_ERROR = 1e-4, ROUNDING = 2 ** -17;

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
  const [start] = starts, { bits, levels } = options, exact = exactScale(weights, options, true);
  const shiftedZero = (shift: number) => {
    const zero = start.zero + shift;
    return levels ? onLevels({ scale: exact, zero }, bits, levels) : { zero, scale: start.scale };
  };
  const zero = Math.min(0, ...weights) / (levels ? exact : start.scale);
  if (followed && !levels?.isFree && Math.abs(Math.abs(zero) % 1 - 0.5) < NEAR_TIE) {
    starts.push(...[-1, 1].map(shiftedZero));
  }
  const noise = ROUNDING * Math.hypot(...weights.map((weight, i) => importance[i] * weight));
  for (const stage of [0, 1]) {
    starts = starts.flatMap((from) => {
      const tried = candidatesOf(from, stage, options);
      const errors = tried.map((grid) => errorOfGrid(weights, importance, grid, options.bits));
      const best = errors.indexOf(Math.min(...errors));
      const largest = (Math.sqrt(errors[best]) + noise) ** 2 * (1 + NEAR_ERROR);
      const near = tried.filter((_, n) => n !== best && errors[n] <= largest);
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
  { scale, zero, offset = 0 }: ReferenceGrid,
  bits: number,
  followedCode?: number,
): number {
  const base = Math.floor(zero), followed = followedCode === undefined ? undefined : followedCode - base;
  return Math.max(0, Math.min(2 ** bits - 1, roundHalfEven((weight + offset) / scale, followed) + base));
}
