/**
 * Converts the sparsities of the layers of a model into whole numbers of zeros that add up to an exact total. The method is that of the
 * largest remainder: every count is rounded down, and the layers with the largest fractions get one more zero each.
 */

/** The halvings of the interval of shifts, after which the interval is smaller than the precision of float64. */
const HALVINGS = 64;

/**
 * The share of one entry by which the sparsity of a layer without any nonzero entry is lowered, because a sparsity must be less than 1. It
 * is less than one half, so the rounded number of zeros stays the same.
 */
const BELOW_ONE = 0.25;

/**
 * Returns the number of zeros of each layer. The counts add up to `total`. If the sparsities do not, the same number is added to all of
 * them. A sparsity that would leave the range from 0 to 1 stays at its end, and the other layers make up for it.
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
export function sparsityOf(zeros: number, entries: number): number {
  return zeros === entries ? (entries - BELOW_ONE) / entries : zeros / entries;
}

/** Returns the largest number by which the sparsities can be raised so that the layers have at most `total` zeros. */
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
