/** The table of the soak, and what a soak must show. */

import { markdownTable } from "../bench/report/markdown_table.ts";
import type { SoakFigures } from "./soak.ts";

/** The contents of `results/soak.json`, without the measurement. */
export interface SoakResults {
  readonly soak: SoakFigures;
}

/** Whether no answer was wrong, nothing unexpected happened, and the host left nothing behind. */
export function isPassed(figures: SoakFigures): boolean {
  const { counts, unexpected, deviceBytesAtEnd, endedCleanly } = figures;
  return counts.wrong === 0 && counts.accepted > 0 && unexpected.count === 0 && deviceBytesAtEnd === 0 &&
    endedCleanly;
}

/** Renders the figures, one per line. */
export function soakTable({ soak }: SoakResults): string {
  const { counts, memory, milliseconds } = soak;
  const whole = (value: number) => Math.round(value).toLocaleString("en-US");
  const seconds = (value: number) => `${(value / 1000).toFixed(2)} s`;
  const rows: [string, string][] = [
    ["length, with the number of clients", `${soak.minutes} min, ${soak.clients}`],
    ["answers that were compared byte by byte", whole(counts.accepted + counts.wrong)],
    ["wrong answers", whole(counts.wrong)],
    ["refusals with 429 and Retry-After", whole(counts.busy)],
    [
      "clients that left while sending, and while reading",
      `${whole(counts.leftSending)}, ${whole(counts.leftReading)}`,
    ],
    ["answers to slow clients", whole(counts.slow)],
    ["any other outcome", whole(soak.unexpected.count)],
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
  ];
  return markdownTable([["figure", ([name]) => name], ["value", ([, value]) => value]], rows);
}
