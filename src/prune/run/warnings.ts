/** Warnings about the calibration of a run. */

import { needsNoStatistics } from "../../protocol/methods.ts";
import type { SizedLayer } from "../block_plan.ts";
import { countText } from "../report/format.ts";
import type { PruneJob } from "./job.ts";

/** With fewer tokens per column, the statistics of a layer are noisy. */
const TOKENS_PER_COLUMN = 3;

/** Warns if the windows that are fitted have few tokens for the widest layer. */
export function tokenWarnings(
  { windows, queryOf }: Pick<PruneJob, "windows" | "queryOf">,
  layers: readonly SizedLayer[],
): string[] {
  const tokens = windows.reduce((sum, { length }) => sum + length, 0);
  const columns = Math.max(
    0,
    ...layers.filter(({ name }) => !needsNoStatistics(queryOf(name))).map(({ cols }) => cols),
  );
  if (tokens >= TOKENS_PER_COLUMN * columns) return [];
  return [
    `${countText(tokens)} tokens are fewer than three times ${
      countText(columns)
    } inputs: take more --samples`,
  ];
}
