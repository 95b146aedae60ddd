/** Warnings about the calibration of a run. */

import { needsNoStatistics } from "../../protocol/methods.ts";
import type { SizedLayer } from "../block_plan.ts";
import { countText, numberText } from "../report/format.ts";
import type { LayerRun } from "../report/run_report.ts";
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

/**
 * The factor by which the error of a layer on held-out windows may exceed its error on the windows that were fitted. In the first three
 * blocks of SmolLM2-135M, whose widest layers have 1,536 columns, the mean factor of SparseGPT at 50 % and of ALPS at 2:4 is 1.5 and 2.5
 * with 1,792 tokens, and 1.3 and 1.9 with 3,584. With 14,336 tokens they are 1.1 and 1.2.
 */
const VALIDATION_FACTOR = 2;

/** The share of the layers from which on the warning is given, because single layers with massive activations vary much. */
const WARNED_SHARE = 1 / 10;

type MeasuredLayer = Pick<LayerRun, "name" | "relative_error" | "validation_error">;

/** Warns if the errors of many layers on held-out windows are far above those on the windows that were fitted. */
export function validationWarnings(layers: readonly MeasuredLayer[]): string[] {
  const factors = layers.flatMap(({ name, relative_error: fitted, validation_error: heldOut }) =>
    fitted && heldOut ? [{ name, factor: heldOut / fitted }] : []
  );
  const far = factors.filter(({ factor }) => factor > VALIDATION_FACTOR).toSorted((a, b) =>
    b.factor - a.factor
  );
  if (far.length === 0 || far.length < WARNED_SHARE * factors.length) return [];
  const [{ name, factor }] = far;
  return [
    `${far.length} of ${factors.length} layers have more than ${VALIDATION_FACTOR} times the error on held-out windows than on ` +
    `those that were fitted, and ${name} has ${numberText(factor)} times: take more --samples`,
  ];
}
