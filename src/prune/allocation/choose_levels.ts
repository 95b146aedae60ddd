/**
 * Chooses a level of sparsity for each layer, so that the sum of the errors is smallest and the costs add up to 0. Level k of a layer costs
 * k times the size of the layer. The algorithm is dynamic programming over the layers. Its state is the sum of the costs so far.
 */

/**
 * The largest number of states. Sizes are divided by their greatest common divisor first, so the layers of published models need far
 * fewer states. If more states were needed, the sizes are rounded, and the costs add up only approximately to 0.
 */
const MAX_STATES = 1 << 18;

/** A layer with the error of each of its levels. */
export interface LeveledLayer {
  readonly size: number;
  /** The errors of the levels −K, …, K, where K is the same for all layers. */
  readonly errors: readonly number[];
}

/**
 * Returns the level k of each layer, with Σ k·size = 0 and the smallest Σ error. The result is deterministic if several choices are equally
 * good.
 * @param layers at least one layer. Every `errors` has the same odd length 2K + 1
 */
export function chooseLevels(layers: readonly LeveledLayer[]): number[] {
  const reach = (layers[0].errors.length - 1) / 2;
  const sizes = unitSizes(layers.map(({ size }) => size), reach);
  const half = reach * sizes.reduce((sum, size) => sum + size, 0);
  // best[half + cost] is the smallest sum of errors of the layers so far, over all choices whose costs add up to `cost`.
  let best = new Float64Array(2 * half + 1).fill(Infinity);
  best[half] = 0;
  const chosen = layers.map(() => new Int8Array(2 * half + 1));
  layers.forEach(({ errors }, i) => {
    const next = new Float64Array(2 * half + 1).fill(Infinity);
    errors.forEach((error, index) => {
      const level = index - reach, cost = level * sizes[i];
      for (let state = Math.max(0, -cost); state < best.length - Math.max(0, cost); state++) {
        const sum = best[state] + error;
        if (sum < next[state + cost]) {
          next[state + cost] = sum;
          chosen[i][state + cost] = level;
        }
      }
    });
    best = next;
  });
  const levels: number[] = new Array(layers.length);
  for (let i = layers.length - 1, state = half; i >= 0; i--) {
    levels[i] = chosen[i][state];
    state -= levels[i] * sizes[i];
  }
  return levels;
}

/** Divides the sizes by their greatest common divisor, and rounds the quotients if they need more than `MAX_STATES` states. */
function unitSizes(sizes: readonly number[], reach: number): number[] {
  const divisor = sizes.reduce(greatestCommonDivisor);
  const quotients = sizes.map((size) => size / divisor);
  const states = 2 * reach * quotients.reduce((sum, size) => sum + size, 0) + 1;
  if (states <= MAX_STATES) return quotients;
  return quotients.map((size) => Math.max(1, Math.round(size * MAX_STATES / states)));
}

function greatestCommonDivisor(a: number, b: number): number {
  while (b !== 0) [a, b] = [b, a % b];
  return a;
}
