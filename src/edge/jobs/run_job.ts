/**
 * Runs a job as a Workflow with one step per layer, or per block of a model. An interrupted run continues with the steps that are
 * not settled.
 */

import { messageOf } from "../../base/errors.ts";
import { logFailure } from "../problems.ts";
import type { StepConfig, WorkflowStep } from "../runtime.ts";
import { attemptLayer, MAX_ATTEMPTS } from "./attempt.ts";
import type { JobContext } from "./job_context.ts";
import { deleteStates } from "./restore_states.ts";

/** The number of layers that run at once. More layers than places at the hosts would only wait and cost requests. */
const MAX_CONCURRENT_LAYERS = 32;

const LAYER_STEP: StepConfig = {
  retries: { limit: MAX_ATTEMPTS - 1, delay: "2 seconds", backoff: "exponential" },
  timeout: "60 minutes",
};

/** The step of a block may first run the hidden states through all blocks before it. */
const BLOCK_STEP: StepConfig = { ...LAYER_STEP, timeout: "24 hours" };

/** The detail of the error of a layer that failed at every attempt. */
const NO_HOST =
  "no GPU host could solve the layer. The log of the edge has the causes under the id of the job";

/** Runs the job to its end. The errors of layers are recorded, not thrown. */
export async function runJob(step: WorkflowStep, context: JobContext): Promise<void> {
  const layers = await context.record.layerCount(), isModel = await context.record.model() !== undefined;
  let next = 0;
  const runNextLayers = async () => {
    while (next < layers) await runLayer(next++, isModel ? BLOCK_STEP : LAYER_STEP, step, context);
  };
  // A block needs the hidden states that the previous block has computed.
  const concurrency = isModel ? 1 : Math.min(MAX_CONCURRENT_LAYERS, layers);
  await Promise.all(Array.from({ length: concurrency }, runNextLayers));
  if (isModel) await deleteStates(context);
}

async function runLayer(
  position: number,
  config: StepConfig,
  step: WorkflowStep,
  context: JobContext,
): Promise<void> {
  try {
    await step.do(`layer ${position}`, config, () => attemptLayer(position, context));
  } catch (error) {
    // The message has the addresses of hosts, and may quote their answers, which clients must not see.
    logFailure({ job: context.job, layer: position, error: messageOf(error) });
    await context.record.settleLayer(position, { error: { code: "no_device", detail: NO_HOST } });
  }
}
