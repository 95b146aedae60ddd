/**
 * Compares times with the line on which they would lie if every size ran at the rate of the best size. The line's
 * time is the flop count divided by the largest rate of the series.
 */

import type { GrowthPoint } from "./growth_results.ts";

/** A time above the line's time multiplied by this ratio is marked. */
export const MARKED_RATIO = 1.5;

/** A point, compared with the line. */
export interface PointOnLine extends GrowthPoint {
  /** Flops per second. */
  readonly rate: number;
  /** The time divided by the line's time. The best size has 1, and all others have more. */
  readonly ratio: number;
  /** Whether the time is more than {@link MARKED_RATIO} times the line's. */
  readonly marked: boolean;
}

/** Divides the times of one series by the times of its line. */
export function compareWithLine(points: readonly GrowthPoint[]): PointOnLine[] {
  const best = bestRate(points);
  return points.map((point) => {
    const rate = point.flops / point.seconds, ratio = best / rate;
    return { ...point, rate, ratio, marked: ratio > MARKED_RATIO };
  });
}

/** The largest rate of a series, in flops per second. */
export function bestRate(points: readonly GrowthPoint[]): number {
  return Math.max(...points.map(({ flops, seconds }) => flops / seconds));
}
