/** Fits a straight line to points by least squares, and averages points in blocks. */

export type Point = readonly [x: number, y: number];

export interface LinearFit {
  readonly slope: number;
  /** The standard error of the slope, if the deviations of the points are independent. NaN for fewer than three points. */
  readonly standardError: number;
}

/** Fits y = a + slope·x. The slope is NaN if all x are equal. */
export function linearFit(points: readonly Point[]): LinearFit {
  const n = points.length;
  const mean = (index: 0 | 1) => points.reduce((sum, point) => sum + point[index], 0) / n;
  const meanX = mean(0), meanY = mean(1);
  let xx = 0, xy = 0;
  for (const [x, y] of points) {
    xx += (x - meanX) ** 2;
    xy += (x - meanX) * (y - meanY);
  }
  const slope = xy / xx;
  const residuals = points.reduce((sum, [x, y]) => sum + (y - meanY - slope * (x - meanX)) ** 2, 0);
  return { slope, standardError: n > 2 ? Math.sqrt(residuals / (n - 2) / xx) : NaN };
}

/** Divides a series into `count` blocks of nearly equal length, and returns the mean of each. Empty blocks are left out. */
export function blockMeans(points: readonly Point[], count: number): Point[] {
  const edge = (block: number) => Math.round(block * points.length / count);
  return Array.from({ length: count }, (_, block) => points.slice(edge(block), edge(block + 1)))
    .filter((block) => block.length > 0)
    .map((block) => {
      const mean = (index: 0 | 1) => block.reduce((sum, point) => sum + point[index], 0) / block.length;
      return [mean(0), mean(1)];
    });
}
