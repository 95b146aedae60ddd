/** Prints the plan of a run. */

import { bytesText, countText, secondsText } from "../../../prune/report/format.ts";
import { phasesText } from "../../../prune/report/run_seconds.ts";
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
      countText(weights)
    } weights: ${chosen}`,
    `tokens  ${countText(samples * seqlen)}, in ${samples} windows of ${seqlen}`,
    `time    about ${secondsText(seconds.total)}: ${phasesText(seconds)}`,
    `memory  ${bytesText(memory.process)} of this process, ${bytesText(memory.device)} of the device`,
    `disk    ${bytesText(disk.output)} for the result, ${
      bytesText(disk.unfinished)
    } more until it is complete, ` +
    `${bytesText(disk.free)} free`,
    `sends   ${sent === 0 ? "nothing" : `at most ${bytesText(sent)} to hosts`}`,
    `This plan was measured in ${secondsText(measured.seconds)} with ${measured.windows} windows and ` +
    `${measured.layers} layers.`,
  ]);
}
