/** Prints the plan of a run. */

import { formatBytes, formatCount, formatSeconds } from "../../../prune/report/format.ts";
import { formatPhases } from "../../../prune/report/run_seconds.ts";
import type { Output } from "../../terminal/output.ts";
import type { RunPlan } from "./plan_run.ts";

/** Prints the figures as lines, or with `--json` as one object. The warnings are also printed as remarks. */
export function printPlan(plan: RunPlan, output: Output): void {
  const { layers, weights, blocks, parameters, samples, seqlen, seconds, memory, disk, sent, measured } =
    plan;
  for (const warning of plan.warnings) output.remark(`warning: ${warning}`);
  const chosen = Object.entries(parameters).map(([name, value]) => `${name} ${value}`).join(", ");
  output.result(plan, [
    `prunes  ${layers} layers in ${blocks} blocks of ${plan.model} with ${
      formatCount(weights)
    } weights: ${chosen}`,
    `tokens  ${formatCount(samples * seqlen)}, in ${samples} windows of ${seqlen}`,
    `time    about ${formatSeconds(seconds.total)}: ${formatPhases(seconds)}`,
    `memory  ${formatBytes(memory.process)} of this process, ${formatBytes(memory.device)} of the device`,
    `disk    ${formatBytes(disk.output)} for the result, ${
      formatBytes(disk.unfinished)
    } more until it is complete, ` +
    `${formatBytes(disk.free)} free`,
    `sends   ${sent === 0 ? "nothing" : `at most ${formatBytes(sent)} to hosts`}`,
    `This plan was measured in ${formatSeconds(measured.seconds)} with ${measured.windows} windows and ` +
    `${measured.layers} layers.`,
  ]);
}
