/** Divides the calibration windows among several texts, and into windows that are fitted and windows that are held out. */

/**
 * Returns the number of windows of each text by the method of the largest remainder. Each text gets at least one window.
 * @param samples the number of windows of all texts
 * @param shares the positive share of each text, relative to the sum of the shares
 * @throws {RangeError} if there are fewer windows than texts
 */
export function divideWindows(samples: number, shares: readonly number[]): number[] {
  if (samples < shares.length) {
    throw new RangeError(`${samples} calibration windows are fewer than the ${shares.length} texts`);
  }
  const sum = shares.reduce((a, b) => a + b, 0);
  // One window is set aside for each text, and the others are divided.
  const quotas = shares.map((share) => Math.max(0, samples * share / sum - 1));
  const free = samples - shares.length, scale = free === 0 ? 0 : free / quotas.reduce((a, b) => a + b, 0);
  const counts = quotas.map((quota) => 1 + Math.floor(quota * scale));
  const byRemainder = quotas.map((quota, text) => ({ text, remainder: 1 + quota * scale - counts[text] }))
    .toSorted((a, b) => b.remainder - a.remainder || a.text - b.text);
  for (let left = samples - counts.reduce((a, b) => a + b, 0), i = 0; left > 0; left--, i++) {
    counts[byRemainder[i % byRemainder.length].text]++;
  }
  return counts;
}

/**
 * Returns the indices of the held-out windows of each text, which are evenly spaced. Their number is rounded down, but a text of two or more
 * windows has at least one. If all texts together have fewer than 1/`share` windows, no window is held out.
 * @param counts the number of windows of each text
 * @param share from 0 to 0.5
 */
export function holdOut(counts: readonly number[], share: number): ReadonlySet<number>[] {
  const isEnough = counts.reduce((a, b) => a + b, 0) * share >= 1;
  return counts.map((count) => {
    const heldOut = isEnough && count > 1 ? Math.max(1, Math.floor(count * share)) : 0;
    return new Set(Array.from({ length: heldOut }, (_, i) => Math.floor((i + 0.5) * count / heldOut)));
  });
}
