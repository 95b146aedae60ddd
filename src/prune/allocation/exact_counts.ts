/**
 * Converts the sparsities of the layers of a model into whole numbers of zeros that add up to an exact total. This is the largest
 * remainder method: every count is rounded down, and the layers with the largest fractional parts get one more zero each.
 */

/** The number of bisection steps in `findShift`. After these steps the interval is smaller than the precision of float64. */
const HALVINGS = 64;

/** A layer with n weights that are all zero gets the sparsity (n − 0.25)/n, which is below 1 as solvers require, and rounds to n zeros. */
const BELOW_ONE = 0.25;

/**
 * Returns the number of zeros of each layer. The counts add up to `total`. If the wanted sparsities give another total, the same number is
 * added to all sparsities. A sparsity that would leave the range from 0 to 1 is clamped, and the other layers compensate for the
 * difference.
 * @param entries the number of weights of each layer
 * @param sparsities the wanted fraction of zeros of each layer, between −1 and 2
 * @param total the number of zeros of all layers together, at most the sum of `entries`
 */
export function exactCounts(
  entries: readonly number[],
  sparsities: readonly number[],
  total: number,
): number[] {
  const shift = findShift(entries, sparsities, total);
  const quotas = entries.map((count, i) => count * clamp(sparsities[i] + shift));
  const counts = quotas.map(Math.floor);
  const fraction = (i: number) => quotas[i] - counts[i];
  const missing = total - sumOf(counts);
  const byFraction = [...counts.keys()].filter((i) => counts[i] < entries[i])
    .sort((a, b) => fraction(b) - fraction(a) || a - b);
  for (const i of byFraction.slice(0, missing)) counts[i]++;
  return counts;
}

/** Returns a sparsity s < 1 with round(s·entries) = zeros. Solvers round in this way to get the number of zeros of a layer. */
export function sparsityForZeros(zeros: number, entries: number): number {
  return zeros === entries ? (entries - BELOW_ONE) / entries : zeros / entries;
}

/** Returns the largest number that can be added to all sparsities without giving the layers more than `total` zeros. */
function findShift(entries: readonly number[], sparsities: readonly number[], total: number): number {
  const zeros = (shift: number) => sumOf(entries.map((count, i) => count * clamp(sparsities[i] + shift)));
  let low = -2, high = 2;
  for (let i = 0; i < HALVINGS; i++) {
    const middle = (low + high) / 2;
    if (zeros(middle) <= total) low = middle;
    else high = middle;
  }
  return low;
}

function clamp(sparsity: number): number {
  return Math.min(1, Math.max(0, sparsity));
}

function sumOf(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0);
}
