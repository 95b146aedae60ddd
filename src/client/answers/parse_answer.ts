/**
 * Parses the JSON answers of servers by the checks in `protocol/messages.ts`. The checks use `zod/mini`, which is small and evaluates no
 * text as code, so a page with a strict Content-Security-Policy can run them.
 */

import type * as z from "zod/mini";
import { MalformedAnswerError } from "../errors.ts";

/**
 * Parses `body` as JSON and checks it against `schema`.
 * @param path the path of the request, which the error names
 * @param expected what the answer should be, such as "a job"
 * @throws {MalformedAnswerError} if `body` is not JSON or does not match the schema
 */
export function parseAnswer<T>(
  schema: z.ZodMiniType<T>,
  body: Uint8Array<ArrayBuffer>,
  path: string,
  expected: string,
): T {
  try {
    return schema.parse(JSON.parse(new TextDecoder().decode(body)));
  } catch (cause) {
    throw new MalformedAnswerError(`answer of ${path}: is not ${expected}`, { cause });
  }
}
