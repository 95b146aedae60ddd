/** Sends the requests about one task to one GPU host: starts the task, asks for its state, and cancels it. */

import { type TaskAnswer, taskAnswerSchema, type TaskRequest } from "../../protocol/jobs.ts";
import { signTicket } from "../../protocol/tickets.ts";
import type { ChosenHost } from "../hosts/registry.ts";
import { messageOf } from "../../text/message_of.ts";

/** The services for calls to hosts. */
export interface HostCalls {
  readonly secret: string;
  readonly fetch: (url: URL, init: RequestInit) => Promise<Response>;
}

/** A host refused the task. Every other attempt would be refused too. */
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

/** A host could not be reached, or cannot work. Another host may succeed. */
export class HostFailedError extends Error {
  override name = "HostFailedError";
}

/**
 * The seconds that a host may delay its answer. They are few, because a Worker has only six connections that wait for headers, and all
 * layers of a job share them.
 */
const WAIT_SECONDS = 2;

/** A host that does not answer for this long has failed. */
const ANSWER_MILLISECONDS = 30_000;

/** Codes of client errors that are transient here, because the operands came over a connection too. */
const TRANSIENT_TASK_CODES: readonly unknown[] = ["truncated_body"];

/** Starts a task at a host, or asks for its state. @throws {TaskRefusedError} {HostBusyError} {HostFailedError} */
export async function askHost(calls: HostCalls, host: ChosenHost, task: TaskRequest): Promise<TaskAnswer> {
  const body = new TextEncoder().encode(JSON.stringify(task));
  const response = await call(calls, host, "POST", "/v1/tasks", body);
  const text = await response.text().catch((cause) => {
    throw new HostFailedError(`host ${host.url}: its answer was cut short: ${cause}`, { cause });
  });
  const answer = parse(text);
  if (response.ok) {
    const { data } = taskAnswerSchema.safeParse(answer);
    if (!data) throw new HostFailedError(`host ${host.url}: its answer is not a task: ${text.slice(0, 200)}`);
    return data;
  }
  const { code, detail = text.slice(0, 200) } = (answer ?? {}) as { code?: string; detail?: string };
  if (code === "busy") throw new HostBusyError(`host ${host.url}: ${detail}`);
  const isTransient = code === undefined || response.status >= 500 || TRANSIENT_TASK_CODES.includes(code) ||
    // The ticket was for an earlier process at this address.
    response.status === 401;
  if (isTransient) throw new HostFailedError(`host ${host.url}: ${response.status} ${code ?? ""} ${detail}`);
  throw new TaskRefusedError(code, detail);
}

/** Cancels a task, if the host can be reached. */
export async function endTask(calls: HostCalls, host: ChosenHost, id: string): Promise<void> {
  try {
    const response = await call(calls, host, "DELETE", `/v1/tasks/${id}`);
    await response.body?.cancel();
  } catch (error) {
    if (!(error instanceof HostFailedError)) throw error;
  }
}

async function call(
  { secret, fetch }: HostCalls,
  { id, url }: ChosenHost,
  method: string,
  path: string,
  body = new Uint8Array(0),
): Promise<Response> {
  const ticket = await signTicket(secret, { audience: id, method, path, body }, Date.now());
  const target = new URL(`.${path}`, url.endsWith("/") ? url : `${url}/`);
  const headers: Record<string, string> = { Authorization: ticket };
  if (method === "POST") {
    headers["Content-Type"] = "application/json";
    headers.Prefer = `wait=${WAIT_SECONDS}`;
  }
  try {
    return await fetch(target, {
      method,
      headers,
      body: method === "POST" ? body : undefined,
      signal: AbortSignal.timeout(ANSWER_MILLISECONDS),
    });
  } catch (cause) {
    throw new HostFailedError(`host ${url}: ${messageOf(cause)}`, {
      cause,
    });
  }
}

function parse(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
