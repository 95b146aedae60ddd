/** The chart of the seconds spent on the layers of each block, with one panel per phase of the work. */

import { type BlockValue, drawBlockPanels } from "./block_panels.ts";
import type { Page, PageElement } from "./dom.ts";
import { formatSeconds } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";

const PHASES = ["calibration", "read", "factor", "solve", "refit"] as const;

type Phase = (typeof PHASES)[number];

/** Draws the chart, without the phases that took no time. Returns undefined if no phase took time. */
export function drawTimeChart(document: Page, run: RunReport): PageElement | undefined {
  const blocks = Map.groupBy(run.layers, ({ block }) => block);
  const values: BlockValue[] = timedPhases(run).flatMap((phase) =>
    [...blocks].map(([block, layers]) => ({ series: phase, block, value: totalSeconds(layers, phase) }))
  );
  if (values.length === 0) return undefined;
  return drawBlockPanels(values, {
    document,
    id: "time-chart",
    title: "Seconds per phase, by block",
    description: timeDescription(run),
    blocks: run.model.blocks,
    format: (seconds) => seconds < 10_000 ? `${seconds} s` : `${seconds / 1000}k s`,
  });
}

/** A sentence with the total time of each phase. */
export function timeDescription(run: RunReport): string {
  const sums = timedPhases(run).map((phase) => `${phase} ${formatSeconds(totalSeconds(run.layers, phase))}`);
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
