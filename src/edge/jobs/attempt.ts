/**
 * One attempt at a layer, or at a block of a model. Transient failures are thrown, so the Workflow retries them. Permanent
 * ones are recorded.
 */

import type { TaskRequest } from "../../protocol/resources/tasks.ts";
import { messageOf } from "../../base/errors.ts";
import type { ChosenHost } from "../hosts/host_registry.ts";
import { logFailure } from "../problems.ts";
import { atHost, NoHostError } from "./at_host.ts";
import { awaitTask, signedSource } from "./await_task.ts";
import { HostBusyError, HostFailedError, TaskRefusedError } from "./host_answer.ts";
import type { JobContext } from "./job_context.ts";
import type { Attempt } from "./job_record.ts";
import { withStates } from "./restore_states.ts";
import { storeResult } from "./store_result.ts";

/** The largest number of attempts at a layer. If five hosts fail on a layer, the layer itself is the likely cause. */
export const MAX_ATTEMPTS = 5;

/** A block stays at the host that has its hidden states for this number of attempts. */
const ATTEMPTS_AT_ONE_HOST = 2;

/**
 * Attempts the layer at `position` in the job.
 * @throws {HostFailedError} {HostBusyError} if another attempt may succeed. The cause is in the log
 */
export async function attemptLayer(position: number, context: JobContext): Promise<void> {
  const { record, job, hostWaitMilliseconds } = context;
  const attempt = await record.beginAttempt(position);
  if (!attempt) return;
  const { number } = attempt;
  try {
    await runAttempt(`${job}.${position}.${number}`, position, attempt, context);
  } catch (error) {
    if (error instanceof TaskRefusedError) {
      return await record.settleLayer(position, { error: { code: error.code, detail: error.message } });
    }
    if (error instanceof NoHostError) {
      return await record.settleLayer(position, { error: { code: "no_device", detail: error.message } });
    }
    if (error instanceof HostBusyError && number >= MAX_ATTEMPTS) {
      const detail = `all GPU hosts were busy in ${number} attempts of ${hostWaitMilliseconds / 1000} s`;
      return await record.settleLayer(position, { error: { code: "busy", detail } });
    }
    logFailure({ job, layer: position, attempt: number, error: messageOf(error) });
    throw error;
  }
}

async function runAttempt(
  taskId: string,
  position: number,
  attempt: Attempt,
  context: JobContext,
): Promise<void> {
  const choose = (asleep?: string) => chooseHost(taskId, attempt, asleep, context);
  await atHost(taskId, position, choose, async (host) => {
    await context.record.assignHost(position, host.id);
    const solve = () => solveOnce(host, taskId, position, attempt, context);
    return attempt.model ? await withStates(host, taskId, position, attempt, context, solve) : await solve();
  }, context);
}

/**
 * Reserves a host.
 * @param asleep the id of a host that is starting, and so has no hidden states
 * @returns undefined if none is alive and none can be woken
 */
function chooseHost(
  taskId: string,
  { layer, model, number, lastHost }: Attempt,
  asleep: string | undefined,
  { hosts }: JobContext,
): Promise<ChosenHost | undefined> {
  const isWanted = model !== undefined && number <= ATTEMPTS_AT_ONE_HOST && asleep === undefined;
  const hessian = "hessian" in layer ? layer.hessian : undefined;
  return isWanted
    ? hosts.choose(taskId, hessian, undefined, lastHost)
    : hosts.choose(taskId, hessian, asleep ?? lastHost);
}

/** Runs the task of the layer, and records the result. @throws {TaskRefusedError} {HostBusyError} {HostFailedError} */
async function solveOnce(
  host: ChosenHost,
  taskId: string,
  position: number,
  attempt: Attempt,
  context: JobContext,
): Promise<void> {
  const { key, url } = await context.blobs.writeUrl();
  const task = await taskOf(taskId, position, attempt, url, context);
  const answer = await awaitTask(host, task, position, context);
  if (!answer) return;
  const { result } = answer;
  // A block has no report, also if a host answers one.
  const report = attempt.model ? undefined : answer.report;
  if (!result || !report && !attempt.model) {
    throw new HostFailedError(`host ${host.url}: has finished the task without a result`);
  }
  await storeResult({ host, key, ...result }, report, position, context);
}

async function taskOf(
  id: string,
  position: number,
  { layer, model }: Attempt,
  url: string,
  { blobs, job }: JobContext,
): Promise<TaskRequest> {
  const weight = await signedSource(blobs, layer.weight), result = { url };
  if (model) return { id, states: job, index: position, block: weight, result, parameters: layer.parameters };
  const hessian = layer.hessian === undefined ? undefined : await signedSource(blobs, layer.hessian);
  return { id, weight, hessian, result, parameters: layer.parameters };
}
