/** One attempt at a layer. Transient failures are thrown, so the Workflow retries them. Permanent ones are recorded. */

import { growingDelays } from "../../base/waiting.ts";
import type { Digest } from "../../protocol/digest.ts";
import type { JobLayer } from "../../protocol/resources/jobs.ts";
import type { TaskAnswer, TaskRequest } from "../../protocol/resources/tasks.ts";
import { messageOf } from "../../base/errors.ts";
import type { ChosenHost } from "../hosts/host_registry.ts";
import { logFailure } from "../problems.ts";
import { HostBusyError, HostFailedError, TaskRefusedError } from "./host_answer.ts";
import { askHost, cancelTask } from "./host_client.ts";
import type { JobBlobs, JobContext } from "./job_context.ts";
import type { Attempt } from "./job_record.ts";

/** The longest time of a task, including the transfer of its tensors. After that, the attempt fails. */
const ATTEMPT_MILLISECONDS = 30 * 60_000;

/** The first and the longest pause between two requests for a free host or for the state of a task, in milliseconds. */
const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000;

/** The largest number of attempts at a layer. If five hosts fail on a layer, the layer itself is the likely cause. */
export const MAX_ATTEMPTS = 5;

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
  let avoided = attempt.lastHost, busyError: HostBusyError | undefined;
  try {
    for (const pause of growingDelays(FIRST_PAUSE, LONGEST_PAUSE)) {
      const host = await hosts.choose(taskId, attempt.layer.hessian, avoided);
      const sleepReason = host?.mayBeAsleep ? await context.findSleepReason(host) : undefined;
      if (host && sleepReason === undefined) {
        await record.assignHost(position, host.id);
        try {
          return await solveAt(host, taskId, position, attempt.layer, context);
        } catch (error) {
          if (!(error instanceof HostBusyError)) throw error;
          busyError = error;
          // A host that was starting may be ready by now.
          avoided = attempt.lastHost;
        }
      } else {
        // While this host starts, another one may be awake.
        avoided = host?.id ?? avoided;
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

/** Lets a host solve the layer, and records the result. @throws {TaskRefusedError} {HostBusyError} {HostFailedError} */
async function solveAt(
  host: ChosenHost,
  taskId: string,
  position: number,
  layer: JobLayer,
  context: JobContext,
): Promise<void> {
  const { blobs, record, transport } = context;
  const target = await blobs.writeUrl();
  const task: TaskRequest = {
    id: taskId,
    weight: await signedSource(blobs, layer.weight),
    hessian: layer.hessian === undefined ? undefined : await signedSource(blobs, layer.hessian),
    result: { url: target.url },
    parameters: layer.parameters,
  };
  const answer = await awaitTask(host, task, position, context);
  if (!answer) return await cancelTask(transport, host, taskId);
  const { report, result } = answer;
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

/** Starts the task and asks for its state until it is done. Returns undefined if the job was cancelled. */
async function awaitTask(
  host: ChosenHost,
  task: TaskRequest,
  position: number,
  { transport, record, hosts, sleep, now }: JobContext,
): Promise<Extract<TaskAnswer, { state: "done" }> | undefined> {
  const deadline = now() + ATTEMPT_MILLISECONDS;
  for (const pause of growingDelays(FIRST_PAUSE, LONGEST_PAUSE)) {
    let answer: TaskAnswer;
    try {
      answer = await askHost(transport, host, task);
    } catch (error) {
      // The host registers again with its next heartbeat. Until then it gets no layers.
      if (error instanceof HostFailedError && error.isGone) await hosts.deregister(host.id);
      throw error;
    }
    if (answer.state === "done") return answer;
    if (!await record.isWanted(position)) return undefined;
    if (now() > deadline) {
      await cancelTask(transport, host, task.id);
      throw new HostFailedError(`host ${host.url}: took more than ${ATTEMPT_MILLISECONDS / 60_000} minutes`);
    }
    await sleep(pause);
  }
}

/** Returns the signed URL and the digest of a blob. @throws {TaskRefusedError} if the blob does not exist */
async function signedSource(blobs: JobBlobs, digest: Digest): Promise<TaskRequest["weight"]> {
  const url = await blobs.readUrl(digest);
  if (url === undefined) throw new TaskRefusedError("not_found", `blob ${digest} is not stored`);
  return { url, sha256: digest };
}
