/**
 * A job as a Workflow: a step a layer, many at once, each tried again when what went wrong may pass. A run that is
 * interrupted goes on with the layers that are not settled; the outcome of each is in the job's record, so that steps return nothing.
 */

import { attemptLayer, type AttemptTools } from "./attempt.ts";
import type { StepConfig, WorkflowStep } from "./workflow_types.ts";
import { messageOf } from "../../text/message_of.ts";

/** Layers under way at once. Hosts queue what is more than they hold; each layer here costs some polling. */
const LAYERS_AT_ONCE = 32;

/** A host that dies costs one retry; that five die under one layer means that the layer kills them. */
const LAYER_STEP: StepConfig = {
  retries: { limit: 4, delay: "2 seconds", backoff: "exponential" },
  timeout: "60 minutes",
};

/** Runs the job to its end. What went wrong with layers is in the record. */
export async function runJob(step: WorkflowStep, tools: AttemptTools): Promise<void> {
  const { record } = tools, layers = await record.size();
  let next = 0;
  const lane = async () => {
    while (next < layers) await runLayer(next++, step, tools);
  };
  await Promise.all(Array.from({ length: Math.min(LAYERS_AT_ONCE, layers) }, lane));
}

async function runLayer(position: number, step: WorkflowStep, tools: AttemptTools): Promise<void> {
  try {
    await step.do(`layer ${position}`, LAYER_STEP, () => attemptLayer(position, tools));
  } catch (error) {
    const detail = messageOf(error);
    await tools.record.settle(position, { error: { code: "no_device", detail } });
  }
}
