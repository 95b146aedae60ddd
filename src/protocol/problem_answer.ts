/** Converts a refusal, the error for a refused request, to the answer that a server sends, and such an answer back to a refusal. */

import { PROBLEM_TYPE } from "./headers.ts";
import { makeProblem, type Problem, PROBLEMS } from "./problem.ts";
import { Refusal } from "./refusal.ts";

/** An answer with a problem document, as the parts of an HTTP response. */
export interface ProblemAnswer {
  readonly status: (typeof PROBLEMS)[keyof typeof PROBLEMS]["status"];
  readonly headers: Record<string, string>;
  /** The problem as JSON. */
  readonly body: string;
}

/** Returns the answer for `refusal`. */
export function problemAnswer(refusal: Refusal, requestId: string): ProblemAnswer {
  const { code, message, members, retryAfter } = refusal;
  const headers: Record<string, string> = { "Content-Type": PROBLEM_TYPE };
  if (retryAfter !== undefined) headers["Retry-After"] = String(retryAfter);
  if (code === "unauthorized") headers["WWW-Authenticate"] = "Bearer";
  // The client may still be sending the rest of its body.
  if (code === "too_slow") headers["Connection"] = "close";
  return {
    status: PROBLEMS[code].status,
    headers,
    body: JSON.stringify(makeProblem(code, message, requestId, members)),
  };
}

/** Returns the refusal with which a server of this version has answered. Consumes the response. */
export async function readRefusal(response: Response): Promise<Refusal> {
  const { code, detail, type: _type, title: _title, status: _status, request_id: _id, ...members }: Problem =
    await response.json();
  const retryAfter = response.headers.get("Retry-After");
  return new Refusal(code, detail, {
    members,
    retryAfter: retryAfter === null ? undefined : Number(retryAfter),
  });
}
