/**
 * Parses JSON answers with `zod/mini`, which evaluates no text as code, as strict Content-Security-Policies require.
 */

import type * as z from "zod/mini";
import { parseJson } from "../../base/json.ts";
import { MalformedAnswerError } from "../errors.ts";
import { ANSWER_BOUNDS } from "../../protocol/limits.ts";
import type { HostTensor } from "../../tensor/host_tensor.ts";

/**
 * Parses the answer of `path` as JSON. `expected` says what the answer should be, such as "a job", for the error.
 * @throws {MalformedAnswerError} if `body` is not JSON or does not match the schema
 */
export function parseAnswer<T>(
  schema: z.ZodMiniType<T>,
  body: Uint8Array<ArrayBuffer>,
  path: string,
  expected: string,
): T {
  try {
    return schema.parse(parseJson(body, ANSWER_BOUNDS));
  } catch (cause) {
    throw new MalformedAnswerError(`answer of ${path}: is not ${expected}`, { cause });
  }
}

/** @param fault the rest of the sentence "answer for a layer: …" */
export function malformedLayer(fault: string, cause?: unknown): MalformedAnswerError {
  return new MalformedAnswerError(`answer for a layer: ${fault}`, { cause });
}

/** Checks the dtype and the shape of a tensor of the answer. @throws {MalformedAnswerError} */
export function requireForm(
  name: string,
  { dtype, shape }: HostTensor,
  wantedDtype: string,
  wantedShape: readonly number[],
): void {
  if (dtype === wantedDtype && String(shape) === String(wantedShape)) return;
  throw malformedLayer(
    `the tensor ${name} is ${dtype} [${shape}] instead of ${wantedDtype} [${wantedShape}]`,
  );
}
