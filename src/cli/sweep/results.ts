/** Formats the results of `pare sweep` as lines of a CSV file and as a table. */

import type { LayerQuery } from "../../protocol/layer_query.ts";
import type { ROUNDING_PARAMETERS } from "../../protocol/parameters.ts";
import type { AllocationName } from "../../prune/allocation/allocation.ts";
import { textTable } from "../terminal/output.ts";
import type { SweepPoint } from "./points.ts";

/** A measured point. */
export interface SweepResult extends SweepPoint {
  readonly perplexity: number;
  /** The seconds that pruning and measuring took. */
  readonly seconds: number;
}

/** The results of a sweep, as `--json` prints them. */
export interface Sweep extends Pick<LayerQuery, (typeof ROUNDING_PARAMETERS)[number]> {
  readonly model: string;
  readonly calibration: string;
  readonly samples: number;
  /** The number of held-out windows among them. */
  readonly validation_samples: number;
  readonly allocate: AllocationName;
  readonly text: string;
  readonly seqlen: number;
  /** The number of measured windows. */
  readonly windows: number;
  /** The perplexity of the dense model. */
  readonly dense: number;
  readonly points: readonly SweepResult[];
}

/** Returns the header line of the CSV file, and the line of the dense model. */
export function csvHead(dense: number): string {
  return `method,pattern,sparsity,perplexity,seconds\ndense,unstructured,0,${dense},\n`;
}

/** Returns a line of the CSV file. No field needs quotes. */
export function csvLine({ method, pattern, sparsity, perplexity, seconds }: SweepResult): string {
  return `${method},${pattern},${sparsity},${perplexity},${seconds.toFixed(3)}\n`;
}

/** Returns a table with one row per sparsity or pattern and one column per method. The first row is the dense model. */
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

/** Returns the setting of a point as text, such as `50 %` or `2:4`. */
export function settingName({ pattern, sparsity }: SweepPoint): string {
  return pattern === "unstructured" ? `${parseFloat((100 * sparsity).toFixed(4))} %` : pattern;
}
