/** What a sweep found, as CSV lines and as a table. */

import { textTable } from "../terminal/text_table.ts";
import type { SweepPoint } from "./points.ts";

/** A point that was measured. */
export interface SweepResult extends SweepPoint {
  readonly perplexity: number;
  /** To prune and to measure. */
  readonly seconds: number;
}

/** A whole sweep, as `--json` prints it. */
export interface Sweep {
  readonly model: string;
  readonly calibration: string;
  readonly samples: number;
  readonly text: string;
  readonly seqlen: number;
  /** Windows measured. */
  readonly windows: number;
  /** The perplexity of the model as it is. */
  readonly dense: number;
  readonly points: readonly SweepResult[];
}

/** The head of the CSV file and its first line, the dense model. */
export function csvHead(dense: number): string {
  return `method,pattern,sparsity,perplexity,seconds\ndense,unstructured,0,${dense},\n`;
}

/** A line of the CSV file. No field needs quoting. */
export function csvLine({ method, pattern, sparsity, perplexity, seconds }: SweepResult): string {
  return `${method},${pattern},${sparsity},${perplexity},${seconds.toFixed(3)}\n`;
}

/** A row a sparsity or pattern, a column a method, the dense model first. */
export function sweepTable({ dense, points }: Sweep): string {
  const methods = [...new Set(points.map(({ method }) => method))];
  const settings = [...new Set(points.map(settingName))];
  const cell = (setting: string, method: string) =>
    points.find((point) => point.method === method && settingName(point) === setting)?.perplexity.toFixed(
      2,
    ) ?? "–";
  return textTable(["perplexity", ...methods], [
    ["dense", ...methods.map(() => dense.toFixed(2))],
    ...settings.map((setting) => [setting, ...methods.map((method) => cell(setting, method))]),
  ]);
}

/** `50 %`, `2:4`. */
export function settingName({ pattern, sparsity }: SweepPoint): string {
  return pattern === "unstructured" ? `${parseFloat((100 * sparsity).toFixed(4))} %` : pattern;
}
