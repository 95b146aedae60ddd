/**
 * Runs a job as a Workflow with one step per layer. Several steps run at once, and a step is retried after a transient failure. An
 * interrupted run continues with the layers that have no outcome yet. The outcomes are in the job's record, so steps return nothing.
 */

import { attemptLayer, type AttemptTools } from "./attempt.ts";
import type { StepConfig, WorkflowStep } from "./workflow_types.ts";
import { messageOf } from "../../text/message_of.ts";

/** The number of layers that run at once. Hosts queue layers that exceed their capacity, and each running layer costs some polling. */
const LAYERS_AT_ONCE = 32;

/** A lost host costs one retry. If five hosts fail on one layer, the layer itself is the likely cause. */
const LAYER_STEP: StepConfig = {
  retries: { limit: 4, delay: "2 seconds", backoff: "exponential" },
  timeout: "60 minutes",
};

/** Runs the job to its end. Errors of layers are in the record. */
export async function runJob(step: WorkflowStep, tools: AttemptTools): Promise<void> {
  const { record } = tools, layers = await record.size();
  let next = 0;
  const runLayers = async () => {
    while (next < layers) await runLayer(next++, step, tools);
  };
  await Promise.all(Array.from({ length: Math.min(LAYERS_AT_ONCE, layers) }, runLayers));
}

async function runLayer(position: number, step: WorkflowStep, tools: AttemptTools): Promise<void> {
  try {
    await step.do(`layer ${position}`, LAYER_STEP, () => attemptLayer(position, tools));
  } catch (error) {
    const detail = messageOf(error);
    await tools.record.settle(position, { error: { code: "no_device", detail } });
  }
}
