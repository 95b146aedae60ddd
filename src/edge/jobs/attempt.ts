/**
 * One attempt at a layer, or at a block of a model. Transient failures are thrown, so the Workflow retries them. Permanent
 * failures are recorded.
 */

import type { TaskRequest } from "../../protocol/resources/tasks.ts";
import { messageOf } from "../../base/errors.ts";
import { growingDelays } from "../../base/waiting.ts";
import type { ChosenHost } from "../hosts/host_registry.ts";
import { logFailure } from "../problems.ts";
import { HostBusyError, HostFailedError, StatesLostError, TaskRefusedError } from "./host_answer.ts";
import { awaitTask, FIRST_PAUSE, LONGEST_PAUSE, signedSource } from "./host_tasks.ts";
import type { JobContext } from "./job_context.ts";
import type { Attempt } from "./job_record.ts";
import { restoreStates } from "./restore_states.ts";

/** The largest number of attempts at a layer. If five hosts fail on a layer, the layer itself is the likely cause. */
export const MAX_ATTEMPTS = 5;

/** A block stays at the host that has its hidden states for this number of attempts. */
const ATTEMPTS_AT_ONE_HOST = 2;

/** No host was alive or woke up in time. The message names no address. */
class NoHostError extends Error {
  override name = "NoHostError";
}

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

/** Runs the attempt at a host that is awake and has a free place. @throws {NoHostError} {HostBusyError} after `hostWaitMilliseconds` */
async function runAttempt(
  taskId: string,
  position: number,
  attempt: Attempt,
  context: JobContext,
): Promise<void> {
  const { record, hosts, hostWaitMilliseconds } = context, deadline = context.now() + hostWaitMilliseconds;
  let asleep: string | undefined, busyError: HostBusyError | undefined;
  try {
    for (const pause of growingDelays(FIRST_PAUSE, LONGEST_PAUSE)) {
      const host = await chooseHost(taskId, attempt, asleep, context);
      const sleepReason = host?.mayBeAsleep ? await context.findSleepReason(host) : undefined;
      if (host && sleepReason === undefined) {
        try {
          return await solveAtHost(host, taskId, position, attempt, context);
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
      if (context.now() > deadline) throw busyError ?? noHost(host, sleepReason, position, context);
      if (!await record.isWanted(position)) return;
      await context.sleep(pause);
    }
  } finally {
    await hosts.release(taskId);
  }
}

/**
 * Reserves a host.
 * @param asleep the id of a host that is starting, and so has no hidden states
 * @returns undefined if no host is alive and no host can be woken
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

/** Returns the error of an attempt without a host. The reason is only in the log, because it may name an address. */
function noHost(
  host: ChosenHost | undefined,
  sleepReason: string | undefined,
  position: number,
  { job, hostWaitMilliseconds }: JobContext,
): NoHostError {
  const seconds = hostWaitMilliseconds / 1000;
  if (host) logFailure({ job, layer: position, host: host.url, error: sleepReason });
  return new NoHostError(
    host ? `host ${host.id} did not start within ${seconds} s` : `no GPU host was alive for ${seconds} s`,
  );
}

/**
 * Runs the task of the attempt at the host, and records the result. If the host lacks the hidden states before a block, the
 * states are created, and the task runs again with new URLs, because the first URLs may have expired.
 * @throws {TaskRefusedError} {HostBusyError} {HostFailedError}
 */
async function solveAtHost(
  host: ChosenHost,
  taskId: string,
  position: number,
  attempt: Attempt,
  context: JobContext,
): Promise<void> {
  await context.record.assignHost(position, host.id);
  try {
    await solveOnce(host, taskId, position, attempt, context);
  } catch (error) {
    if (!attempt.model || !(error instanceof StatesLostError)) throw error;
    if (!await restoreStates(host, taskId, position, attempt, context)) return;
    await solveOnce(host, taskId, position, attempt, context);
  }
}

async function solveOnce(
  host: ChosenHost,
  taskId: string,
  position: number,
  attempt: Attempt,
  context: JobContext,
): Promise<void> {
  const { blobs, record } = context, { key, url } = await blobs.writeUrl();
  const task = await taskOf(taskId, position, attempt, url, context);
  const answer = await awaitTask(host, task, position, context);
  if (!answer) return;
  const { result } = answer;
  // A block has no report, also if a host answers one.
  const report = attempt.model ? undefined : answer.report;
  if (!result || !report && !attempt.model) {
    throw new HostFailedError(`host ${host.url}: has finished the task without a result`);
  }
  const { sha256, bytes } = result;
  // A large answer is verified for minutes. Meanwhile the record is called, because a repeated request restarts a job
  // whose record has not been called for a minute. A call that fails is ignored, because the next one follows.
  const timer = setInterval(
    () => void Promise.resolve(record.isWanted(position)).catch(() => {}),
    LONGEST_PAUSE,
  );
  try {
    if (!await blobs.publish(key, sha256, bytes)) {
      throw new HostFailedError(
        `host ${host.url}: did not write the ${bytes} bytes of its answer, or they are not ${sha256}`,
      );
    }
  } finally {
    clearInterval(timer);
  }
  await record.settleLayer(position, { report, result: sha256 });
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
