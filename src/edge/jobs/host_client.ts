/** One task at one GPU host: asked for, asked after until it is done, and ended. It chooses no host and keeps no record. */

import { type TaskAnswer, taskAnswerSchema, type TaskRequest } from "../../protocol/jobs.ts";
import { signTicket } from "../../protocol/tickets.ts";
import type { ChosenHost } from "../hosts/registry.ts";
import { messageOf } from "../../text/message_of.ts";

/** What host calls need of the world. */
export interface HostCalls {
  readonly secret: string;
  readonly fetch: (url: URL, init: RequestInit) => Promise<Response>;
}

/** A host refused the task: another try, there or elsewhere, gives the same. */
export class TaskRefusedError extends Error {
  override name = "TaskRefusedError";

  constructor(readonly code: string, detail: string) {
    super(detail);
  }
}

/** A host has no place for a task now. */
export class HostBusyError extends Error {
  override name = "HostBusyError";
}

/** A host could not be heard out, or is in no state to work. Another may do. */
export class HostFailedError extends Error {
  override name = "HostFailedError";
}

/**
 * Seconds that a host may hold back its answer. Short: a Worker has six connections that wait for headers, which all layers
 * of a job share.
 */
const WAIT_SECONDS = 2;

/** A host that says nothing for this long is gone. */
const ANSWER_MILLISECONDS = 30_000;

/** What passes, by its code, although its status is a client's fault: the operands came in over a connection as well. */
const TRANSIENT_TASK_CODES: readonly unknown[] = ["truncated_body"];

/** Asks a host for a task, or after it. @throws {TaskRefusedError} {HostBusyError} {HostFailedError} */
export async function askHost(calls: HostCalls, host: ChosenHost, task: TaskRequest): Promise<TaskAnswer> {
  const body = new TextEncoder().encode(JSON.stringify(task));
  const response = await call(calls, host, "POST", "/v1/tasks", body);
  const text = await response.text().catch((cause) => {
    throw new HostFailedError(`host ${host.url}: broke off its answer: ${cause}`, { cause });
  });
  const answer = parse(text);
  if (response.ok) {
    const { data } = taskAnswerSchema.safeParse(answer);
    if (!data) throw new HostFailedError(`host ${host.url}: answered what is no task: ${text.slice(0, 200)}`);
    return data;
  }
  const { code, detail = text.slice(0, 200) } = (answer ?? {}) as { code?: string; detail?: string };
  if (code === "busy") throw new HostBusyError(`host ${host.url}: ${detail}`);
  const isTransient = code === undefined || response.status >= 500 || TRANSIENT_TASK_CODES.includes(code) ||
    // The ticket was for the process that was at this address before.
    response.status === 401;
  if (isTransient) throw new HostFailedError(`host ${host.url}: ${response.status} ${code ?? ""} ${detail}`);
  throw new TaskRefusedError(code, detail);
}

/** Ends a task, as far as the host can be reached. */
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
