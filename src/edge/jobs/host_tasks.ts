/** Runs tasks at GPU hosts: starts them, asks for their state until they are done, and cancels them. */

import { messageOf } from "../../base/errors.ts";
import { growingDelays } from "../../base/waiting.ts";
import type { Digest } from "../../protocol/digest.ts";
import type { FinishedTask, TaskAnswer, TaskRequest } from "../../protocol/resources/tasks.ts";
import { ticketedRequest } from "../../protocol/tickets.ts";
import type { WokenHost } from "../hosts/woken_hosts.ts";
import { HostFailedError, readTaskAnswer, TaskRefusedError } from "./host_answer.ts";
import type { HostTransport, JobBlobs, JobContext } from "./job_context.ts";

/** The seconds for which a host may delay its answer, few because a Worker waits for at most six answers at once. */
const WAIT_SECONDS = 2;

/** If a host has not answered after this number of milliseconds, it has failed. */
const ANSWER_MILLISECONDS = 30_000;

/** The longest time of a task, including the transfer of its tensors. After that, the attempt fails. */
const TASK_MILLISECONDS = 30 * 60_000;

/** The longest time of a task about a block, which may have hundreds of layers. Signed URLs expire after two hours. */
const BLOCK_TASK_MILLISECONDS = 110 * 60_000;

/** The first and the longest pause between two requests for a free host or for the state of a task, in milliseconds. */
export const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000;

/**
 * Starts the task and asks for its state until it is done. If the job is cancelled, cancels the task and returns undefined.
 * @param position the position in the job of the layer or block to which the task belongs
 * @throws {TaskRefusedError} {HostBusyError} {HostFailedError}
 */
export async function awaitTask(
  host: WokenHost,
  task: TaskRequest,
  position: number,
  { transport, record, hosts, sleep, now }: JobContext,
): Promise<FinishedTask | undefined> {
  const limit = "index" in task ? BLOCK_TASK_MILLISECONDS : TASK_MILLISECONDS, deadline = now() + limit;
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
    if (!await record.isWanted(position)) return void await cancelTask(transport, host, task.id);
    if (now() > deadline) {
      await cancelTask(transport, host, task.id);
      throw new HostFailedError(`host ${host.url}: took more than ${limit / 60_000} minutes`);
    }
    await sleep(pause);
  }
}

/** Returns the signed URL and the digest of a blob. @throws {TaskRefusedError} if the blob does not exist */
export async function signedSource(
  blobs: JobBlobs,
  digest: Digest,
): Promise<{ readonly url: string; readonly sha256: Digest }> {
  const url = await blobs.readUrl(digest);
  if (url === undefined) throw new TaskRefusedError("not_found", `blob ${digest} is not stored`);
  return { url, sha256: digest };
}

/**
 * Starts a task at a host and returns its state. If the host has the task already, only returns its state.
 * @throws {TaskRefusedError} {HostBusyError} {HostFailedError}
 */
export async function askHost(
  transport: HostTransport,
  host: WokenHost,
  task: TaskRequest,
): Promise<TaskAnswer> {
  return await readTaskAnswer(await callHost(transport, host, "POST", "/v1/tasks", task), `host ${host.url}`);
}

/** Cancels a task. Does nothing if the host cannot be reached. */
async function cancelTask(transport: HostTransport, host: WokenHost, id: string): Promise<void> {
  try {
    const response = await callHost(transport, host, "DELETE", `/v1/tasks/${id}`);
    await response.body?.cancel();
  } catch (error) {
    if (!(error instanceof HostFailedError)) throw error;
  }
}

/** Sends one request with a ticket. @throws {HostFailedError} if the host does not answer, or redirects the request */
async function callHost(
  { secret, fetch }: HostTransport,
  { id, url: baseUrl }: WokenHost,
  method: string,
  path: string,
  json?: TaskRequest,
): Promise<Response> {
  const headers: Record<string, string> = json ? { Prefer: `wait=${WAIT_SECONDS}` } : {};
  const call = { audience: id, baseUrl, method, path, json, headers };
  const { url, init } = await ticketedRequest(secret, call, Date.now());
  const signal = AbortSignal.timeout(ANSWER_MILLISECONDS);
  // A task has signed URLs, so it must not reach another server by a redirect.
  const response = await fetch(url, { ...init, redirect: "manual", signal }).catch((cause) => {
    throw new HostFailedError(`host ${baseUrl}: ${messageOf(cause)}`, { isGone: true, cause });
  });
  if (response.status < 300 || response.status > 399) return response;
  await response.body?.cancel();
  throw new HostFailedError(`host ${baseUrl}: redirects with status ${response.status}`, { isGone: true });
}
