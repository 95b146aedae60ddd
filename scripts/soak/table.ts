/** The table of the soak, and what a soak must show. */

import { type Column, markdownTable } from "../bench/report/markdown_table.ts";
import type { SoakFigures } from "./soak.ts";

/** The contents of `results/soak.json`, without the measurement: the figures by the names of the backends. */
export interface SoakResults {
  readonly soak: Readonly<Record<string, SoakFigures & { readonly adapter: string }>>;
}

/** Whether no answer was wrong, nothing unexpected happened, and the host left nothing behind. */
export function isPassed(figures: SoakFigures): boolean {
  const { counts, unexpected, deviceBytesAtEnd, endedCleanly } = figures;
  return counts.wrong === 0 && counts.accepted > 0 && unexpected.count === 0 && deviceBytesAtEnd === 0 &&
    endedCleanly;
}

/** Renders one figure per line, and one column per backend. */
export function soakTable({ soak }: SoakResults): string {
  const columns = Object.entries(soak).map(([backend, figures]) => ({ backend, cells: cells(figures) }));
  return markdownTable([
    ["figure", (name) => name],
    ...columns.map(({ backend, cells }): Column<string> => [`\`${backend}\``, (name) => cells[name]]),
  ], Object.keys(columns[0].cells));
}

/** Returns the texts of the figures by their names. */
function cells(soak: SoakFigures): Record<string, string> {
  const { counts, memory, milliseconds } = soak;
  const whole = (value: number) => Math.round(value).toLocaleString("en-US");
  const seconds = (value: number) => `${(value / 1000).toFixed(2)} s`;
  return Object.fromEntries([
    ["length, with the number of clients", `${soak.minutes} min, ${soak.clients}`],
    ["answers that were compared byte by byte", whole(counts.accepted + counts.wrong)],
    ["wrong answers", whole(counts.wrong)],
    ["refusals with 429 and Retry-After", whole(counts.busy)],
    [
      "clients that left while sending, and while reading",
      `${whole(counts.leftSending)}, ${whole(counts.leftReading)}`,
    ],
    [
      "connections reset before the first byte, in mid-request and in mid-answer",
      `${whole(counts.resetConnecting)}, ${whole(counts.resetSending)}, ${whole(counts.resetReading)}`,
    ],
    ["answers of `/healthz` to honest clients", whole(counts.healthy)],
    ["answers to slow clients", whole(counts.slow)],
    ["any other outcome, refused health checks included", whole(soak.unexpected.count)],
    ["p50 and p99 of accepted requests", `${seconds(milliseconds.p50)}, ${seconds(milliseconds.p99)}`],
    [
      "resident memory after the warm-up, and at the end",
      `${whole(memory.afterWarmUp)} MiB, ${whole(memory.atEnd)} MiB`,
    ],
    [
      "slope of the memory per 1,000 requests",
      `${memory.slope.toFixed(2)} ± ${memory.standardError.toFixed(2)} MiB`,
    ],
    ["device memory in use after the last request", `${whole(soak.deviceBytesAtEnd)} bytes`],
  ]);
}
