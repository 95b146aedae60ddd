/**
 * Deterministic contents for the buffers of the self-check. The same seed gives the same bits on every machine, because
 * the generators use integer arithmetic and exact divisions by powers of two only.
 */

/** The contents of a buffer. A kernel sees either floats or words. */
export type Values = Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>;

/** The value of elements that a kernel must leave alone, and of outputs before the kernel runs. */
export const UNTOUCHED = 77;

/** Returns a generator of uniformly distributed u32 numbers (a Weyl sequence with the finaliser of MurmurHash3). */
export function generator(seed: number): () => number {
  let state = Math.imul(seed, 0x85ebca6b) >>> 0;
  return () => {
    state = (state + 0x9e3779b9) >>> 0;
    let x = state;
    x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
    x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
    return (x ^ (x >>> 16)) >>> 0;
  };
}

/** Returns `count` random u32 numbers. */
export function words(count: number, seed: number): Uint32Array<ArrayBuffer> {
  const next = generator(seed), values = new Uint32Array(count);
  // A loop is several times faster than `Uint32Array.from` with a function, and the check delays the start of a host.
  for (let i = 0; i < count; i++) values[i] = next();
  return values;
}

/** Returns `count` random floats in [−1, 1), which are multiples of 2⁻²³. */
export function signed(count: number, seed: number): Float32Array<ArrayBuffer> {
  const next = generator(seed), values = new Float32Array(count);
  for (let i = 0; i < count; i++) values[i] = (next() >>> 8) / 2 ** 23 - 1;
  return values;
}

/** Returns `count` random floats in [0.5, 1.5). */
export function positive(count: number, seed: number): Float32Array<ArrayBuffer> {
  return signed(count, seed).map((value) => value / 2 + 1);
}

/** Returns `count` random integers from 0 to `limit` − 1. */
export function below(limit: number, count: number, seed: number): Uint32Array<ArrayBuffer> {
  return words(count, seed).map((word) => Math.floor(word / 2 ** 32 * limit));
}

/** Returns `count` floats that are all `value`. */
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
