/**
 * The error for a request that is refused with a problem of the HTTP contract, and its conversion to an answer and
 * back. Folders that do not import the contract throw errors of their own, which `layer/errors.ts` and
 * `routes/errors.ts` convert to refusals.
 */

import { firstItems, joinedItems, shortened, shortMessage } from "../base/texts.ts";
import { type ProblemCode, PROBLEMS } from "./problem_codes.ts";
import { z } from "zod";

export interface RefusalOptions extends ErrorOptions {
  /** Members of the problem besides the standard ones. */
  readonly members?: ProblemMembers;
  /** The number of seconds that the client should wait before it tries again, sent as Retry-After. */
  readonly retryAfter?: number;
}

/** A refused request. The server answers with the problem `code`, and the message becomes the problem's `detail`. */
export class Refusal extends Error {
  override name = "Refusal";
  readonly members: ProblemMembers;
  readonly retryAfter: number | undefined;

  constructor(readonly code: ProblemCode, detail: string, options: RefusalOptions = {}) {
    super(shortMessage(detail), options);
    const members = Object.entries(options.members ?? {}).map((
      [name, value],
    ) => [name, shortenedMember(value)]);
    this.members = Object.fromEntries(members);
    this.retryAfter = options.retryAfter;
  }
}

/** Shortens a member that may come from the request: a text, or a list of texts or numbers. */
function shortenedMember(value: unknown): unknown {
  if (typeof value === "string") return shortened(value);
  return Array.isArray(value) ? firstItems(value).map(shortenedMember) : value;
}

/** Returns the refusal `too_large`. @param subject names what is too large, such as "the body" */
export function tooLarge(subject: string, byteLength: number, limit: number): Refusal {
  return new Refusal("too_large", `${subject} has ${byteLength} bytes, the limit is ${limit}`, {
    members: { limit },
  });
}

/** One invalid parameter, and the rule that it breaks. */
interface InvalidParameter {
  readonly parameter: string;
  readonly detail: string;
}

/**
 * Returns the refusal for an error of the schema library zod. It lists at most 20 parameters.
 * @param input the value that was parsed
 */
export function invalidParameters(error: z.ZodError | z.core.$ZodError, input: unknown): Refusal {
  return refusalFor(
    error.issues.flatMap((issue) =>
      issue.code === "unrecognized_keys"
        ? issue.keys.map((parameter) => ({ parameter, detail: "is not a parameter" }))
        : [{ parameter: issue.path.join("."), detail: issue.message + quotedValue(issue, input) }]
    ),
  );
}

/**
 * Throws the refusal for an input that breaks its schema. It is the `defaultHook` of `@hono/zod-openapi`, whose types
 * lack the `data` of an invalid input.
 */
export function requireValid(
  { error, data }: { readonly error?: z.ZodError; readonly data?: unknown },
): void {
  if (error) throw invalidParameters(error, data);
}

/**
 * Returns the text `, got` with the invalid value, if it is short. The messages of rules with the code `custom` name
 * the value themselves. A URL is never quoted, because it may have a password or a signature.
 */
function quotedValue({ code, path, message }: z.core.$ZodIssue, input: unknown): string {
  const value = path.reduce<unknown>((outer, key) => (outer as Record<PropertyKey, unknown>)?.[key], input);
  if (code === "custom" || typeof value === "object" && value !== null) return "";
  if (value === undefined) return message.endsWith("undefined") ? "" : ", got nothing";
  const text = String(value);
  return /:\/\/|@/.test(text) ? "" : `, got ${text === "" ? "an empty text" : shortened(text, 80)}`;
}

/** Returns the refusal for one parameter, or for one member of a body. */
export function invalidParameter(parameter: string, detail: string): Refusal {
  return refusalFor([{ parameter, detail }]);
}

/**
 * Refuses a parameter without a name, which the parsers of queries ignore, and a repeated one, of which some parsers take the first value.
 * @throws {Refusal} `invalid_parameter`
 */
export function requireDistinctParameters(query: URLSearchParams): void {
  if (query.has("")) throw invalidParameter("", "is not a parameter");
  const names = new Set<string>();
  for (const name of query.keys()) {
    if (names.has(name)) throw invalidParameter(name, "is given more than once");
    names.add(name);
  }
}

function refusalFor(invalid: readonly InvalidParameter[]): Refusal {
  const errors = firstItems(invalid).map(({ parameter, detail }) => ({
    parameter: shortened(parameter),
    detail: shortened(detail),
  }));
  const detail = joinedItems(
    invalid.map(({ parameter, detail }) => `${shortened(parameter)}: ${detail}`),
    "; ",
  );
  return new Refusal("invalid_parameter", detail, { members: { errors } });
}

export interface ProblemAnswer {
  readonly status: (typeof PROBLEMS)[keyof typeof PROBLEMS]["status"];
  readonly headers: Record<string, string>;
  readonly body: string;
}

export function problemAnswer(refusal: Refusal, requestId: string): ProblemAnswer {
  const { code, message, members, retryAfter } = refusal;
  const headers: Record<string, string> = { "Content-Type": PROBLEM_TYPE };
  if (retryAfter !== undefined) headers["Retry-After"] = String(retryAfter);
  if (code === "unauthorized") headers["WWW-Authenticate"] = "Bearer";
  // The client may still be sending the rest of its body.
  if (code === "too_slow") headers["Connection"] = "close";
  const { status, title } = PROBLEMS[code], type = `urn:pare:problem:${code}`;
  const problem: Problem = { type, title, status, detail: message, code, request_id: requestId, ...members };
  return { status, headers, body: JSON.stringify(problem) };
}

/** Reads a problem document, which a server of this version has sent, as a refusal. */
export async function readRefusal(response: Response): Promise<Refusal> {
  const { code, detail, type: _type, title: _title, status: _status, request_id: _id, ...members }: Problem =
    await response.json();
  const retryAfter = response.headers.get("Retry-After");
  return new Refusal(code, detail, {
    members,
    retryAfter: retryAfter === null ? undefined : Number(retryAfter),
  });
}

export const PROBLEM_TYPE = "application/problem+json";

const CODES = Object.keys(PROBLEMS) as [ProblemCode, ...ProblemCode[]];

/** A problem document. Further members depend on the code, such as `limit`, `tensor`, `index` or `order`. */
export const problemSchema = z.looseObject({
  type: z.string().meta({ example: "urn:pare:problem:busy" }),
  title: z.string(),
  status: z.int(),
  detail: z.string(),
  code: z.enum(CODES),
  request_id: z.string(),
  errors: z.array(z.object({ parameter: z.string(), detail: z.string() })).optional().meta({
    description: "One entry per invalid parameter",
  }),
}).meta({ id: "Problem", description: "RFC 9457 problem" });

export type Problem = z.infer<typeof problemSchema>;

/** The members of a problem besides the standard ones. */
export type ProblemMembers = Readonly<Record<string, unknown>>;
