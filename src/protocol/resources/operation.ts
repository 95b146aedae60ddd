/**
 * Describes the operations of the HTTP contract: the method, the path, the schemas of a request and of its answers, and
 * the problems. Each operation is one constant in this folder. The host and the edge validate requests by these
 * constants, and publish them as OpenAPI.
 */

import { z } from "zod";
import { REQUEST_ID_HEADER } from "../headers.ts";
import type { Scope } from "../keys.ts";
import { PROBLEM_TYPE, problemSchema } from "../refusal.ts";
import { type ProblemCode, PROBLEMS } from "../problem_codes.ts";

/** A header of an answer, in the form of an OpenAPI document. */
type HeaderDescription = {
  description: string;
  schema?: { type: "string" | "integer" };
  content?: Record<string, { schema: { $ref: string } }>;
};

/** One operation of the contract. */
export interface Operation {
  readonly method: "get" | "head" | "post" | "put" | "delete";
  readonly path: `/${string}`;
  /** The name of the operation in generated clients, unique in the contract. */
  readonly operationId: string;
  readonly summary: string;
  readonly description?: string;
  readonly tags: string[];
  /** The scope of the API keys that may call the operation. It decides on every server. A public operation needs no key. */
  readonly scope: Scope | "public";
  readonly request: {
    readonly params?: z.ZodObject;
    readonly query: z.ZodObject;
    readonly headers?: z.ZodObject;
    readonly body?: { readonly required: true; readonly description?: string; readonly content: object };
  };
  /** The answers that are not problems, by status. */
  readonly responses: Readonly<
    Record<
      number,
      {
        readonly description: string;
        readonly headers?: Record<string, HeaderDescription>;
        readonly content?: object;
      }
    >
  >;
  /** The codes with which the operation can be refused. */
  readonly problems: readonly ProblemCode[];
}

/** The query of an operation without parameters. It refuses every parameter, so that a misspelt one is noticed. */
export const NO_QUERY = z.strictObject({});

/** The problems of every operation that needs an API key. They follow from its scope. */
const KEY_PROBLEMS = ["unauthorized", "forbidden"] as const satisfies ProblemCode[];

/** The problems of every operation that only an edge has. */
export const EDGE_PROBLEMS = [
  "invalid_parameter",
  "invalid_host",
  "unsupported",
  "busy",
  "internal",
] as const satisfies ProblemCode[];

/** The problems of an operation with a JSON body, besides `invalid_parameter`. */
export const JSON_PROBLEMS = [
  "truncated_body",
  "too_slow",
  "length_required",
  "too_large",
  "unsupported_media_type",
] as const satisfies ProblemCode[];

/** Returns the `content` of a JSON body. */
export function json<T extends z.ZodType>(schema: T) {
  return { "application/json": { schema } };
}

/**
 * Returns an operation as the configuration of a route. The problems become answers, one per status, and every answer
 * gets the header with the id of the request.
 * @param more further codes with which the server can refuse the operation
 */
export function routeConfig<T extends Operation>(operation: T, more: readonly ProblemCode[] = []) {
  const { problems, responses, scope, ...config } = operation;
  // For a bearer key, OpenAPI 3.1 lists here the roles that a request needs.
  const security = scope === "public" ? [] : [{ key: [scope] }];
  const codes = [...scope === "public" ? [] : KEY_PROBLEMS, ...problems, ...more];
  const answers = Object.entries(responses).map(([status, { headers, ...answer }]) =>
    [status, { ...answer, headers: { ...headers, ...REQUEST_ID } }] as const
  );
  const all = { ...Object.fromEntries(answers), ...problemResponses(codes) };
  // The type leaves the problems out, because no handler returns them. A handler throws a `Refusal` instead.
  return { ...config, security, responses: all as unknown as T["responses"] };
}

const REQUEST_ID: Record<string, HeaderDescription> = {
  [REQUEST_ID_HEADER]: {
    description: "The id of the request in the server's log",
    schema: { type: "string" },
  },
};

const RETRY_AFTER: Record<string, HeaderDescription> = {
  "Retry-After": { description: "The seconds after which to try again", schema: { type: "integer" } },
};

/** Returns the answers with the problems `codes`. There is one per status, and it explains the codes. */
function problemResponses(codes: readonly ProblemCode[]) {
  const statuses = Map.groupBy(new Set(codes), (code) => PROBLEMS[code].status);
  return Object.fromEntries([...statuses].map(([status, codes]) => [status, {
    description: codes.map((code) => `\`${code}\`: ${PROBLEMS[code].cause}.`).join("\n\n"),
    headers: { ...REQUEST_ID, ...(status === 429 || status === 503) && RETRY_AFTER },
    content: { [PROBLEM_TYPE]: { schema: problemSchema } },
  }]));
}
