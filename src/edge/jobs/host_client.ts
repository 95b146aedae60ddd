/**
 * Sends requests about tasks from the edge (Pare's Cloudflare Worker) to GPU hosts. A task is one layer for a
 * host to solve. The requests start a task, ask for its state, and cancel it.
 */

import { type TaskAnswer, taskAnswerSchema, type TaskRequest } from "../../protocol/edge/tasks.ts";
import { ticketedRequest } from "../../protocol/edge/tickets.ts";
import { messageOf } from "../../text/message_of.ts";
import { tryParseJson } from "../../text/try_parse_json.ts";
import type { ChosenHost } from "../hosts/host_registry.ts";

/** The secret and the function with which hosts are called. */
export interface HostTransport {
  /**
   * The secret that edge and hosts share. The edge signs each request with it, so that the host recognises the
   * request. The signature is called a ticket.
   */
  readonly secret: string;
  readonly fetch: (url: URL, init: RequestInit) => Promise<Response>;
}

/** A host refused the task. The failure is permanent, because another host would refuse it too. */
export class TaskRefusedError extends Error {
  override name = "TaskRefusedError";

  constructor(readonly code: string, detail: string) {
    super(detail);
  }
}

/** A host has no free place for the task at the moment. */
export class HostBusyError extends Error {
  override name = "HostBusyError";
}

/** A host could not be reached, or cannot work. The failure is transient, because another host may succeed. */
export class HostFailedError extends Error {
  override name = "HostFailedError";
}

/**
 * The number of seconds for which a host may delay its answer until the task is done. It is small because a
 * Worker can wait for the headers of at most six answers at a time, and all layers of a job share these
 * connections.
 */
const WAIT_SECONDS = 2;

/** If a host has not answered after this number of milliseconds, it has failed. */
const ANSWER_MILLISECONDS = 30_000;

/**
 * Codes that are transient for a task although their status is 4xx. The host reads the tensors over a
 * connection of its own, which may break.
 */
const TRANSIENT_TASK_CODES: readonly unknown[] = ["truncated_body"];

/**
 * Starts a task at a host and returns its state. If the host has the task already, only returns its state.
 * @throws {TaskRefusedError} {HostBusyError} {HostFailedError}
 */
export async function askHost(
  transport: HostTransport,
  host: ChosenHost,
  task: TaskRequest,
): Promise<TaskAnswer> {
  const response = await callHost(transport, host, "POST", "/v1/tasks", task);
  const text = await response.text().catch((cause) => {
    throw new HostFailedError(`host ${host.url}: its answer was cut short: ${cause}`, { cause });
  });
  const answer = tryParseJson(text);
  if (response.ok) {
    const { data } = taskAnswerSchema.safeParse(answer);
    if (!data) throw new HostFailedError(`host ${host.url}: its answer is not a task: ${text.slice(0, 200)}`);
    return data;
  }
  const { code, detail = text.slice(0, 200) } = (answer ?? {}) as { code?: string; detail?: string };
  if (code === "busy") throw new HostBusyError(`host ${host.url}: ${detail}`);
  const isTransient = code === undefined || response.status >= 500 || TRANSIENT_TASK_CODES.includes(code) ||
    // Status 401 means that the host has restarted. The ticket names the id of the earlier process, and the
    // new process has another id.
    response.status === 401;
  if (isTransient) throw new HostFailedError(`host ${host.url}: ${response.status} ${code ?? ""} ${detail}`);
  throw new TaskRefusedError(code, detail);
}

/** Cancels a task. Does nothing if the host cannot be reached. */
export async function cancelTask(transport: HostTransport, host: ChosenHost, id: string): Promise<void> {
  try {
    const response = await callHost(transport, host, "DELETE", `/v1/tasks/${id}`);
    await response.body?.cancel();
  } catch (error) {
    if (!(error instanceof HostFailedError)) throw error;
  }
}

/** Sends one request with a ticket. @throws {HostFailedError} if the host does not answer */
async function callHost(
  { secret, fetch }: HostTransport,
  { id, url: baseUrl }: ChosenHost,
  method: string,
  path: string,
  json?: TaskRequest,
): Promise<Response> {
  const headers: Record<string, string> = json ? { Prefer: `wait=${WAIT_SECONDS}` } : {};
  const call = { audience: id, baseUrl, method, path, json, headers };
  const { url, init } = await ticketedRequest(secret, call, Date.now());
  try {
    return await fetch(url, { ...init, signal: AbortSignal.timeout(ANSWER_MILLISECONDS) });
  } catch (cause) {
    throw new HostFailedError(`host ${baseUrl}: ${messageOf(cause)}`, { cause });
  }
}
