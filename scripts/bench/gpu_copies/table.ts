/** The results of the bench that counts copies, and their table. */

import { type Column, markdownTable } from "../report/markdown_table.ts";
import type { RequestCounts } from "./count_request.ts";

/** The counts for one state of the code. */
export interface CopiesState {
  /** The name of the state, such as `before`. */
  readonly state: string;
  readonly requests: readonly RequestCounts[];
}

/** The contents of `results/gpu_copies.json`. */
export interface GpuCopies {
  /** The states in the order in which they were counted. */
  readonly states: readonly CopiesState[];
}

/** Renders one row per request and state. */
export function gpuCopiesTable({ states }: GpuCopies): string {
  const rows = states.flatMap(({ state, requests }) => requests.map((request) => ({ state, ...request })));
  const columns: readonly Column<typeof rows[number]>[] = [
    ["weights", ({ rows, cols, dtype }) => `${rows}×${cols} ${dtype}`],
    ["code", ({ state }) => state],
    ["copies per byte of the request", (row) => (row.reading.copiedBytes / row.requestBytes).toFixed(2)],
    ["copies per byte of the answer", (row) => (row.answering.copiedBytes / row.answerBytes).toFixed(2)],
    ["waits to read", ({ reading }) => String(reading.waits)],
    ["waits to solve", ({ solving }) => String(solving.waits)],
    ["waits to answer", ({ answering }) => String(answering.waits)],
    ["submissions", (row) => {
      const { reading, solving, answering } = row;
      return String(reading.submissions + solving.submissions + answering.submissions);
    }],
  ];
  return markdownTable(columns, rows);
}
