/**
 * The charts of the report. Each shows one number of every layer, by block and with one panel per kind of layer or per phase. A function
 * returns the markup of an SVG element, or undefined if its chart would say nothing. The bar of several layers, such as the experts of a
 * block, is their mean or their sum.
 */

import { type BlockValue, drawBlockPanels, valuesByKind } from "./block_panels.ts";
import { numberText, secondsText, shareText } from "./format.ts";
import type { BlockRun, LayerRun, RunReport } from "./run_report.ts";
import { meanError, sparsityOf } from "./summary.ts";

/** Draws the chart. Returns undefined if the run has no measured errors. */
export function drawErrorChart(run: RunReport): string | undefined {
  const values = valuesByKind(run.layers, meanError);
  if (values.length === 0) return undefined;
  const worst = values.reduce((a, b) => b.value > a.value ? b : a);
  return drawBlockPanels(values, {
    id: "error-chart",
    title: "Relative error of each layer by block",
    description:
      `The largest error is ${numberText(worst.value)}, in ${worst.series} of block ${worst.block}. ` +
      "The table below lists all values.",
    blocks: run.model.blocks,
    format: String,
  });
}

/** Sparsities that differ by less than this are shown as equal, because the number of zeros in a layer is rounded. */
const EQUAL_WITHIN = 0.001;

/** Draws the chart. Returns undefined if all layers have the same sparsity, which one number shows better. */
export function drawSparsityChart(run: RunReport): string | undefined {
  let min = 1, max = 0;
  for (const { sparsity } of run.layers) {
    min = Math.min(min, sparsity);
    max = Math.max(max, sparsity);
  }
  if (max - min < EQUAL_WITHIN) return undefined;
  return drawBlockPanels(valuesByKind(run.layers, sparsityOf), {
    id: "sparsity-chart",
    title: "Sparsity by block",
    description: `From ${shareText(min)} to ${shareText(max)} of the weights of a layer are zero.`,
    blocks: run.model.blocks,
    max: 1,
    format: (share) => `${Math.round(100 * share)} %`,
  });
}

/** Draws the errors of the outputs of the blocks. Returns undefined if there is none. */
export function drawBlockErrorChart(run: RunReport): string | undefined {
  return drawBlockErrors(run, "block-error-chart", "Error of the output, by block", ({ error }) => (
    { "block output": error }
  ));
}

/** Draws the errors of the blocks before and after their reconstruction. Returns undefined if no block was reconstructed. */
export function drawReconstructionChart(run: RunReport): string | undefined {
  return drawBlockErrors(
    run,
    "reconstruction-chart",
    "Error before and after the reconstruction, by block",
    ({ reconstruction }) => ({
      "before reconstruction": reconstruction?.before,
      "after reconstruction": reconstruction?.after,
    }),
  );
}

/** Draws the errors that `errorsOf` returns for each block, by series. Returns undefined if there is none. */
function drawBlockErrors(
  { blocks = [], model }: RunReport,
  id: string,
  title: string,
  errorsOf: (run: BlockRun) => Readonly<Record<string, number | null | undefined>>,
): string | undefined {
  const values = blocks.flatMap((run) =>
    Object.entries(errorsOf(run)).flatMap(([series, value]) =>
      typeof value === "number" ? [{ series, block: run.block, value }] : []
    )
  );
  if (values.length === 0) return undefined;
  const errors = values.map(({ value }) => value);
  return drawBlockPanels(values, {
    id,
    title,
    description: `From ${numberText(Math.min(...errors))} to ${numberText(Math.max(...errors))}.`,
    blocks: model.blocks,
    format: numberText,
  });
}

const PHASES = ["calibration", "read", "factor", "solve", "refit"] as const;

type Phase = (typeof PHASES)[number];

/** Draws the chart, without the phases that took no time. Returns undefined if no phase took time. */
export function drawTimeChart(run: RunReport): string | undefined {
  const blocks = Map.groupBy(run.layers, ({ block }) => block);
  const values: BlockValue[] = timedPhases(run).flatMap((phase) =>
    [...blocks].map(([block, layers]) => ({ series: phase, block, value: totalSeconds(layers, phase) }))
  );
  if (values.length === 0) return undefined;
  return drawBlockPanels(values, {
    id: "time-chart",
    title: "Seconds per phase, by block",
    description: timeDescription(run),
    blocks: run.model.blocks,
    format: (seconds) => seconds < 10_000 ? `${seconds} s` : `${seconds / 1000}k s`,
  });
}

/** A sentence with the total time of each phase. */
export function timeDescription(run: RunReport): string {
  const sums = timedPhases(run).map((phase) => `${phase} ${secondsText(totalSeconds(run.layers, phase))}`);
  return `In total: ${sums.join(", ")}.`;
}

/** The phases that took time. */
function timedPhases({ layers }: RunReport): Phase[] {
  return PHASES.filter((phase) => totalSeconds(layers, phase) > 0);
}

function totalSeconds(layers: readonly LayerRun[], phase: Phase): number {
  return layers.reduce(
    (sum, { seconds, calibration_seconds = 0 }) =>
      sum + (phase === "calibration" ? calibration_seconds : seconds[phase]),
    0,
  );
}
