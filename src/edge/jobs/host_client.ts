/** Starts tasks at GPU hosts, asks for their state, and cancels them. */

import type { TaskAnswer, TaskRequest } from "../../protocol/resources/tasks.ts";
import { ticketedRequest } from "../../protocol/tickets.ts";
import { messageOf } from "../../base/errors.ts";
import type { WokenHost } from "../hosts/woken_hosts.ts";
import { HostFailedError, readTaskAnswer } from "./host_answer.ts";

export interface HostTransport {
  /** The secret with which the edge signs the ticket of each request. */
  readonly secret: string;
  readonly fetch: (url: URL, init: RequestInit) => Promise<Response>;
}

/** The seconds for which a host may delay its answer, few because a Worker waits for at most six answers at once. */
const WAIT_SECONDS = 2;

/** If a host has not answered after this number of milliseconds, it has failed. */
const ANSWER_MILLISECONDS = 30_000;

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
export async function cancelTask(transport: HostTransport, host: WokenHost, id: string): Promise<void> {
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
