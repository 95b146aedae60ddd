/** The results of the growth bench, as they are stored in `results/growth.json`. */

/** One measured size of a series. */
export interface GrowthPoint {
  /** The size in words, such as `2048 × 2048` or `12 blocks`. */
  readonly size: string;
  /** The flops of the work, counted by formula. */
  readonly flops: number;
  /** The median time. For a layer it is the factorisation and the solve, and for a model the calibration and the layers. */
  readonly seconds: number;
  /** The peak resident memory of the process, which has run only this size. */
  readonly peakBytes: number;
  /** The number of timed runs. */
  readonly runs: number;
}

/** A size that could not be measured. */
export interface RefusedSize {
  readonly size: string;
  readonly reason: string;
}

/** Measurements of one thing, such as a layer, at several sizes of which one dimension grows. */
export interface GrowthSeries {
  /** The name of the series, such as `one layer`. */
  readonly title: string;
  readonly points: readonly GrowthPoint[];
  readonly refused: readonly RefusedSize[];
}

/** All series of one run. */
export interface GrowthResults {
  /** The largest one-minute load average, read after each size. */
  readonly loadAverage: number;
  readonly series: readonly GrowthSeries[];
}
