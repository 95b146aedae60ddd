/**
 * The cases of kernels: dispatches with fixed operands. The self-check of a device runs them, and so do the kernel's
 * test and the planted faults. The same seed gives the same bits on every machine, because the generators use integer
 * arithmetic and exact divisions by powers of two only.
 */

export type Values = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** A result of a dispatch that is compared with the float64 reference. */
export interface CaseOutput {
  readonly binding: string;
  /**
   * The number of consecutive f32 roundings on the way to an element. Each of them changes the element by at most 2⁻²⁴
   * of the output's largest element, so this number times 2⁻²⁴ is the tolerance. Undefined if the bits must be equal.
   */
  readonly roundings?: number;
  /** Returns whether element i is compared. Without this function, all elements are compared. */
  readonly includes?: (index: number) => boolean;
}

/** One dispatch of a kernel. `B` are the names of the kernel's bindings, and `P` the names of its parameters. */
export interface KernelCase<B extends string = string, P extends string = string> {
  /** The feature that distinguishes this case from the other cases of the kernel. */
  readonly feature?: string;
  readonly params: Readonly<Record<P, number>>;
  readonly buffers: () => Readonly<Record<B, Values>>;
  /** `CaseOutput.roundings` of the buffers that hold rounded floats. The bits of the others must be equal. */
  readonly roundings?: Readonly<Partial<Record<B, number>>>;
  /** `CaseOutput.includes` of buffers in which some elements are unspecified. */
  readonly includes?: Readonly<Partial<Record<B, (index: number) => boolean>>>;
  /** Outputs besides the buffers that the kernel writes, by a name that is unique in the case. */
  readonly outputs?: Readonly<Record<string, CaseOutput>>;
}

/**
 * Returns the roundings of a sum. Errors cancel in part, so the error stays below 8·√terms units, except with a
 * probability of 10⁻¹³ (Higham and Mary, SIAM J. Sci. Comput. 41(5), 2019, theorem 2.4).
 */
export function sumRoundings(terms: number): number {
  return Math.ceil(8 * Math.sqrt(terms));
}

/** The roundings of an expression with exp or tanh. WGSL allows exp an error of 3 + 2·|x| units in the last place. */
export const EXPONENTIAL = 16;

/** A tile in the middle of a matrix: its size, and the row and the column of the matrix at which it starts. */
export type TilePlace = readonly [rows: number, cols: number, row0: number, first: number];

/** Returns the parameters of a tile whose rows have padding. `words` is the number of words per row of the mask. */
export function tileParams([rows, cols, row0, first]: TilePlace) {
  return { rows, cols, ld: cols + 5, row0, first, words: Math.ceil((first + cols) / 32) };
}

/** The value of elements that a kernel must leave alone, and of outputs before the kernel runs. */
export const UNTOUCHED = 77;

/** Returns number `index` of a sequence of uniformly distributed u32 numbers (a Weyl sequence with the finaliser of MurmurHash3). */
function randomWord(seed: number, index: number): number {
  let x = (Math.imul(seed, 0x85ebca6b) + Math.imul(index + 1, 0x9e3779b9)) | 0;
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** Returns a function that returns the next number of the sequence. */
export function generator(seed: number): () => number {
  let index = 0;
  return () => randomWord(seed, index++);
}

// The loops call no closure, which would take three times as long, because the check delays the start of every command.
export function words(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const values = new Uint32Array(count);
  for (let i = 0; i < count; i++) values[i] = randomWord(seed, i);
  return values;
}

/** Returns `count` random floats in [−1, 1), which are multiples of 2⁻²³. */
export function signed(count: number, seed: number): Float32Array<ArrayBuffer> {
  const values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = (randomWord(seed, i) >>> 8) * 2 ** -23 - 1;
  return values;
}

/** Returns `count` random multiples of 1/8 in [−1, 1], so that many of them are equal. */
export function coarse(count: number, seed: number): Float32Array<ArrayBuffer> {
  return signed(count, seed).map((value) => Math.round(value * 8) / 8);
}

/** Returns `count` random floats in [0.5, 1.5). */
export function positives(count: number, seed: number): Float32Array<ArrayBuffer> {
  return signed(count, seed).map((value) => value / 2 + 1);
}

/** Returns `count` random integers from 0 to `limit` − 1. */
export function below(limit: number, count: number, seed: number): Uint32Array<ArrayBuffer> {
  return words(count, seed).map((word) => Math.floor(word / 2 ** 32 * limit));
}

export function filled(count: number, value: number = UNTOUCHED): Float32Array<ArrayBuffer> {
  return new Float32Array(count).fill(value);
}

/** Returns a random permutation of 0 … `count` − 1. */
export function permutation(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const next = generator(seed), order = Uint32Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = next() % (i + 1);
    [order[i], order[j]] = [order[j], order[i]];
  }
  return order;
}
