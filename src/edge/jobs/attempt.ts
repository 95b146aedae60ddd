/**
 * One attempt at a layer, or at a block of a model. Transient failures are thrown, so the Workflow retries them. Permanent
 * ones are recorded.
 */

import { growingDelays } from "../../base/waiting.ts";
import type { TaskRequest } from "../../protocol/resources/tasks.ts";
import { messageOf } from "../../base/errors.ts";
import type { ChosenHost } from "../hosts/host_registry.ts";
import { logFailure } from "../problems.ts";
import { awaitTask, FIRST_PAUSE, LONGEST_PAUSE, signedSource } from "./await_task.ts";
import { HostBusyError, HostFailedError, StatesLostError, TaskRefusedError } from "./host_answer.ts";
import type { JobContext } from "./job_context.ts";
import type { Attempt } from "./job_record.ts";
import { restoreStates } from "./restore_states.ts";

/** The largest number of attempts at a layer. If five hosts fail on a layer, the layer itself is the likely cause. */
export const MAX_ATTEMPTS = 5;

/** A block stays at the host that has its hidden states for this number of attempts. */
const ATTEMPTS_AT_ONE_HOST = 2;

/**
 * Attempts the layer at `position` in the job.
 * @throws {HostFailedError} {HostBusyError} if another attempt may succeed. The cause is in the log
 */
export async function attemptLayer(position: number, context: JobContext): Promise<void> {
  const { record, hosts } = context;
  const attempt = await record.beginAttempt(position);
  if (!attempt) return;
  const taskId = `${context.job}.${position}.${attempt.number}`;
  const deadline = context.now() + context.hostWaitMilliseconds;
  let asleep: string | undefined, busyError: HostBusyError | undefined;
  try {
    for (const pause of growingDelays(FIRST_PAUSE, LONGEST_PAUSE)) {
      const host = await chooseHost(taskId, attempt, asleep, context);
      const sleepReason = host?.mayBeAsleep ? await context.findSleepReason(host) : undefined;
      if (host && sleepReason === undefined) {
        await record.assignHost(position, host.id);
        try {
          return await solveAt(host, taskId, position, attempt, context);
        } catch (error) {
          if (!(error instanceof HostBusyError)) throw error;
          busyError = error;
          // A host that was starting may be ready by now.
          asleep = undefined;
        }
      } else {
        // While this host starts, another one may be awake.
        asleep = host?.id ?? asleep;
      }
      if (context.now() > deadline) {
        return busyError
          ? await endBusyAttempt(busyError, position, attempt, context)
          : await endWithoutHost(host, sleepReason, position, context);
      }
      if (!await record.isWanted(position)) return;
      await context.sleep(pause);
    }
  } catch (error) {
    if (error instanceof TaskRefusedError) {
      return await record.settleLayer(position, { error: { code: error.code, detail: error.message } });
    }
    logFailure({ job: context.job, layer: position, attempt: attempt.number, error: messageOf(error) });
    throw error;
  } finally {
    await hosts.release(taskId);
  }
}

/** Ends the layer, because no host was alive or woke up in time. The reason is in the log, because it may name an address. */
async function endWithoutHost(
  host: ChosenHost | undefined,
  sleepReason: string | undefined,
  position: number,
  { job, record, hostWaitMilliseconds }: JobContext,
): Promise<void> {
  const seconds = hostWaitMilliseconds / 1000;
  if (host) logFailure({ job, layer: position, host: host.url, error: sleepReason });
  const detail = host
    ? `host ${host.id} did not start within ${seconds} s`
    : `no GPU host was alive for ${seconds} s`;
  await record.settleLayer(position, { error: { code: "no_device", detail } });
}

/** Ends an attempt that found only busy hosts. @throws {HostBusyError} if another attempt may follow */
async function endBusyAttempt(
  error: HostBusyError,
  position: number,
  { number }: Attempt,
  { record, hostWaitMilliseconds }: JobContext,
): Promise<void> {
  if (number < MAX_ATTEMPTS) throw error;
  const detail = `all GPU hosts were busy in ${number} attempts of ${hostWaitMilliseconds / 1000} s`;
  await record.settleLayer(position, { error: { code: "busy", detail } });
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

/** Lets a host solve the layer. If the host lacks the hidden states before a block, it first creates them again. */
async function solveAt(
  host: ChosenHost,
  taskId: string,
  position: number,
  attempt: Attempt,
  context: JobContext,
): Promise<void> {
  try {
    await solveOnce(host, taskId, position, attempt, context);
  } catch (error) {
    if (!(error instanceof StatesLostError && attempt.model)) throw error;
    if (!await restoreStates(host, taskId, position, attempt, context)) return;
    // The URLs of this task are signed now, because those of the first one may have expired meanwhile.
    await solveOnce(host, taskId, position, attempt, context);
  }
}

/** Runs the task of the layer, and records the result. @throws {TaskRefusedError} {HostBusyError} {HostFailedError} */
async function solveOnce(
  host: ChosenHost,
  taskId: string,
  position: number,
  attempt: Attempt,
  context: JobContext,
): Promise<void> {
  const { blobs, record } = context;
  const target = await blobs.writeUrl();
  const task = await taskOf(taskId, position, attempt, target.url, context);
  const answer = await awaitTask(host, task, position, context);
  if (!answer) return;
  const { result } = answer;
  // A block has no report, also if a host answers one.
  const report = attempt.model ? undefined : answer.report;
  if (!result || !report && !attempt.model) {
    throw new HostFailedError(`host ${host.url}: has finished the task without a result`);
  }
  // A large answer is verified for minutes. Meanwhile the record is called, because a repeated request restarts a job
  // whose record has not been called for a minute. A call that fails is ignored, because the next one follows.
  const timer = setInterval(
    () => void Promise.resolve(record.isWanted(position)).catch(() => {}),
    LONGEST_PAUSE,
  );
  try {
    if (!await blobs.publish(target.key, result.sha256, result.bytes)) {
      throw new HostFailedError(
        `host ${host.url}: did not write the ${result.bytes} bytes of its answer, or they are not ${result.sha256}`,
      );
    }
  } finally {
    clearInterval(timer);
  }
  await record.settleLayer(position, { report, result: result.sha256 });
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
