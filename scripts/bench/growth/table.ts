/** The table of the growth bench. */

import { type Column, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import { compareWithLine, MARKED_RATIO, type PointOnLine } from "./flop_line.ts";
import type { GrowthResults } from "./growth_results.ts";

interface GrowthRow {
  readonly title: string;
  readonly size: string;
  /** Absent if the size was refused. */
  readonly point?: PointOnLine;
}

const COLUMNS: readonly Column<GrowthRow>[] = [
  ["series", ({ title }) => title],
  ["size", ({ size }) => size],
  ["GFLOP", ({ point }) => point ? (point.flops / 1e9).toPrecision(3) : NOT_MEASURED],
  ["s", ({ point }) => point ? point.seconds.toPrecision(3) : NOT_MEASURED],
  ["GFLOP/s", ({ point }) => point ? (point.rate / 1e9).toFixed(1) : NOT_MEASURED],
  ["memory MiB", ({ point }) => point ? (point.peakBytes / 2 ** 20).toFixed(0) : NOT_MEASURED],
  ["time / flop line", ({ point }) => point ? point.ratio.toFixed(2) : NOT_MEASURED],
  [`above ${MARKED_RATIO}`, ({ point }) => point?.marked ? "▲" : ""],
];

/** Renders one row per size of each series. A line below the table gives the reason for each size that was not measured. */
export function growthTable({ series, loadAverage }: GrowthResults): string {
  const rows = series.flatMap(({ title, points, refused }): GrowthRow[] =>
    [
      ...compareWithLine(points).map((point) => ({ size: point.size, point })),
      ...refused.map(({ size }) => ({ size })),
    ].map((row, i) => ({ ...row, title: i === 0 ? title : "" }))
  );
  const reasons = series.flatMap(({ refused }) =>
    refused.map(({ size, reason }) => `Not measured: ${size}. The reason: ${reason}`)
  );
  return [
    markdownTable(COLUMNS, rows),
    "",
    [...reasons, `Largest load average: ${loadAverage.toFixed(1)}.`].join("\n"),
  ].join("\n");
}
