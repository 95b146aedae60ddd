/** The seconds that a block's layers took, a panel a phase. */

import { blockPanels, type BlockValue } from "./block_panels.ts";
import type { Page, PageElement } from "./dom.ts";
import { formatSeconds } from "./format.ts";
import type { LayerRun, RunReport } from "./run_report.ts";

const PHASES = ["calibration", "read", "factor", "solve", "refit"] as const;

/** The chart; undefined where no phase took time. Phases that took none are left out. */
export function timeChart(document: Page, run: RunReport): PageElement | undefined {
  const blocks = Map.groupBy(run.layers, ({ block }) => block);
  const values: BlockValue[] = phasesOf(run).flatMap((series) =>
    [...blocks].map(([block, layers]) => ({ series, block, value: secondsOf(layers, series) }))
  );
  if (values.length === 0) return undefined;
  return blockPanels(values, {
    document,
    id: "time-chart",
    title: "Seconds a phase by block",
    description: timeDescription(run),
    blocks: run.model.blocks,
    format: (seconds) => seconds < 10_000 ? `${seconds} s` : `${seconds / 1000}k s`,
  });
}

/** What each phase took in all. */
export function timeDescription(run: RunReport): string {
  const sums = phasesOf(run).map((phase) => `${phase} ${formatSeconds(secondsOf(run.layers, phase))}`);
  return `In all: ${sums.join(", ")}.`;
}

/** The phases that took time. */
function phasesOf({ layers }: RunReport): (typeof PHASES)[number][] {
  return PHASES.filter((phase) => secondsOf(layers, phase) > 0);
}

function secondsOf(layers: readonly LayerRun[], phase: (typeof PHASES)[number]): number {
  return layers.reduce(
    (sum, { seconds, calibration_seconds = 0 }) =>
      sum + (phase === "calibration" ? calibration_seconds : seconds[phase]),
    0,
  );
}
