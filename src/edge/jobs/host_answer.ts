/** Reads and checks the answer of a host about a task. Another server may be at the address of the host. */

import { z } from "zod";
import type { ProblemCode } from "../../protocol/problem_codes.ts";
import { type TaskAnswer, taskAnswerSchema } from "../../protocol/resources/tasks.ts";
import { tryParseJson } from "../../base/json.ts";
import { shortened } from "../../base/texts.ts";
import { messageOf } from "../../base/errors.ts";

/** A host refused the task. The failure is permanent, because another host would refuse it too. */
export class TaskRefusedError extends Error {
  override name = "TaskRefusedError";

  constructor(readonly code: ProblemCode, detail: string) {
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
  /** Whether the host must be deregistered, because it did not answer, or the answer is not from a host of Pare. */
  readonly isGone: boolean;

  constructor(message: string, { isGone = false, ...options }: ErrorOptions & { isGone?: boolean } = {}) {
    super(message, options);
    this.isGone = isGone;
  }
}

/** A host does not have the hidden states before a block. They can be created again. */
export class StatesLostError extends HostFailedError {}

/** The largest answer in bytes. The answer about a finished task takes less than 2 KiB. */
const MAX_ANSWER_BYTES = 64 * 2 ** 10;

/** The permanent codes. The layer or its parameters are at fault, and the detail describes the client's own data. */
const LAYER_CODES: readonly string[] = [
  "malformed_safetensors",
  "truncated_body",
  "invalid_parameter",
  "too_large",
  "shape_mismatch",
  "non_finite",
  "not_symmetric",
  "not_positive_definite",
  "unsupported",
] satisfies ProblemCode[];

const hostProblemSchema = z.object({ code: z.string(), detail: z.string() });

/** Reads the state of a task from an answer. @throws {TaskRefusedError} {HostBusyError} {HostFailedError} */
export async function readTaskAnswer(response: Response, name: string): Promise<TaskAnswer> {
  const { status } = response, text = await readText(response, name), json = tryParseJson(text);
  if (response.ok) {
    const { data } = taskAnswerSchema.safeParse(json);
    if (data) return data;
    throw new HostFailedError(`${name}: its answer is not a task: ${shortened(text)}`, { isGone: true });
  }
  const { data: problem } = hostProblemSchema.safeParse(json);
  if (!problem) {
    throw new HostFailedError(`${name}: ${status} without a problem: ${shortened(text)}`, { isGone: true });
  }
  const code = shortened(problem.code), detail = shortened(problem.detail);
  if (code === "busy") throw new HostBusyError(`${name}: ${detail}`);
  if (code === "states_not_found") throw new StatesLostError(`${name}: ${detail}`);
  if (LAYER_CODES.includes(code)) throw new TaskRefusedError(code as ProblemCode, detail);
  if (code === "digest_mismatch") {
    // The detail of the host has the internal address of the blob.
    throw new TaskRefusedError(code, "the host read a blob whose bytes do not have its digest");
  }
  // Status 401 means that the host has restarted, because the ticket names the id of the earlier process.
  throw new HostFailedError(`${name}: ${status} ${code} ${detail}`, { isGone: status === 401 });
}

/** Returns the text of an answer. @throws {HostFailedError} if it is too long or its connection breaks */
async function readText(response: Response, name: string): Promise<string> {
  const decoder = new TextDecoder();
  let text = "", length = 0;
  try {
    for await (const chunk of response.body ?? []) {
      length += chunk.byteLength;
      // Leaving the loop cancels the body.
      if (length > MAX_ANSWER_BYTES) break;
      text += decoder.decode(chunk, { stream: true });
    }
  } catch (cause) {
    const message = `${name}: its answer was cut short: ${messageOf(cause)}`;
    throw new HostFailedError(message, { isGone: true, cause });
  }
  if (length <= MAX_ANSWER_BYTES) return text;
  throw new HostFailedError(`${name}: its answer has more than ${MAX_ANSWER_BYTES} bytes`, { isGone: true });
}
