/**
 * The table that shows how the time of pruning a whole model divides between the calibration statistics and
 * the solvers.
 */

import { type Column, formatPercent, markdownTable } from "../../report/markdown_table.ts";
import { SHARE_METHODS, type ShareResult, type SolveSeconds } from "./bench_share.ts";

/** The results of all calibration sizes, as they are stored in `results/solvers_share.json`. */
export interface ShareResults {
  readonly sizes: readonly ShareResult[];
}

/** The seconds of one method on the whole model. */
export interface MethodTotals extends SolveSeconds {
  /** The seconds of the forward passes and the statistics. */
  readonly calibrate: number;
  readonly total: number;
}

/**
 * Adds up the seconds of the method `SHARE_METHODS[index]` over all blocks and windows. Each block that was
 * not measured counts as many seconds as the last measured block.
 */
export function methodTotals(
  { blocks, windows, measuredWindows, measured }: ShareResult,
  index: number,
): MethodTotals {
  const total = { calibrate: 0, factor: 0, solve: 0, exchange: 0 };
  for (let block = 0; block < blocks; block++) {
    const { calibrate, methods } = measured[Math.min(block, measured.length - 1)];
    const { factor, solve, exchange } = methods[index];
    total.calibrate += calibrate * windows / measuredWindows;
    total.factor += factor;
    total.solve += solve;
    total.exchange += exchange;
  }
  const { calibrate, factor, solve, exchange } = total;
  return { ...total, total: calibrate + factor + solve + exchange };
}

/** A row: one method at one calibration size. */
interface Row {
  readonly size: ShareResult;
  readonly title: string;
  readonly totals: MethodTotals;
  /** The total seconds of SparseGPT at the same calibration size. */
  readonly baseline: number;
}

const COLUMNS: readonly Column<Row>[] = [
  ["windows × tokens", ({ size: { windows, seqlen } }) => `${windows} × ${seqlen}`],
  ["windows measured", ({ size: { windows, measuredWindows } }) => `${measuredWindows} of ${windows}`],
  ["blocks measured", ({ size: { measured, blocks } }) => `${measured.length} of ${blocks}`],
  ["method", ({ title }) => title],
  ["forward and statistics s", ({ totals }) => totals.calibrate.toFixed(1)],
  ["factor s", ({ totals }) => totals.factor.toFixed(2)],
  ["solve s", ({ totals }) => totals.solve.toFixed(2)],
  ["exchange s", ({ totals }) => totals.exchange.toFixed(2)],
  ["total s", ({ totals }) => totals.total.toFixed(1)],
  [
    "share of factor + solve",
    ({ totals: { factor, solve, total } }) => formatPercent((factor + solve) / total),
  ],
  ["× SparseGPT's total", ({ totals, baseline }) => (totals.total / baseline).toFixed(2)],
];

/** Renders one row per calibration size and method. */
export function shareTable({ sizes }: ShareResults): string {
  const rows = sizes.flatMap((size) =>
    SHARE_METHODS.map(({ title }, i): Row => ({
      size,
      title,
      totals: methodTotals(size, i),
      baseline: methodTotals(size, 0).total,
    }))
  );
  return markdownTable(COLUMNS, rows);
}
