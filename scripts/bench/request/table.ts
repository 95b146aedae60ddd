/** The table of the request bench, which shows where the time of one request goes. */

import { type Column, markdownTable, NOT_MEASURED } from "../report/markdown_table.ts";
import type { RequestResult } from "./bench_request.ts";
import { SOLVE_STAGE } from "./stages.ts";

/** The results of the bench, as they are stored in `results/request.json`. */
export interface RequestResults {
  /** The measurement before requests were made cheaper. */
  readonly before: readonly RequestResult[];
  readonly after: readonly RequestResult[];
}

/** One stage. `figure` reads it from a result. */
interface Row {
  readonly name: string;
  readonly figure: (result: RequestResult) => string;
}

/** Renders one row per stage, and two columns per layer: before and after. All figures but the last row's are milliseconds. */
export function requestTable({ before, after }: Pick<RequestResults, "before" | "after">): string {
  const columns: Column<Row>[] = after.flatMap((layer): Column<Row>[] => {
    const heading = `${layer.rows}², statistics ${layer.statistics}`;
    const earlier = before.find(({ rows, cols, statistics }) =>
      rows === layer.rows && cols === layer.cols && statistics === layer.statistics
    );
    return [
      [`${heading}: before`, ({ figure }) => earlier ? figure(earlier) : NOT_MEASURED],
      ["after", ({ figure }) => figure(layer)],
    ];
  });
  const stages = Object.keys(after[0].stages);
  return markdownTable<Row>([["stage", ({ name }) => name], ...columns], [
    ...stages.map((name) => ({ name, figure: ({ stages }: RequestResult) => milliseconds(stages[name]) })),
    { name: "the whole request", figure: ({ wall }) => milliseconds(wall) },
    { name: "without the solve", figure: ({ overhead }) => milliseconds(overhead) },
    { name: "without the solve, median", figure: ({ medianOverhead }) => milliseconds(medianOverhead) },
    {
      name: "without the solve : the solve",
      figure: ({ overhead, stages }) => `${(100 * overhead / stages[SOLVE_STAGE]).toFixed(0)} %`,
    },
  ]);
}

function milliseconds(figure: number): string {
  return figure < 100 ? figure.toFixed(2) : figure.toFixed(0);
}
