/** The types of a host's Hono application. */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { ProblemCode } from "../src/protocol/problem_codes.ts";

/** The values that the listener and middleware attach to a request, in the form that Hono expects. */
export interface HostEnv {
  /** Undefined if the request comes from this process. */
  Bindings: {
    /** Settles when the client has taken the whole answer, or its connection is closed. */
    sent: Promise<unknown>;
  } | undefined;
  Variables: {
    requestId: string;
    /** The owner of what the request stores: the digest of its API key in hexadecimal, or the owner of `KeySource` if there are no keys. */
    owner: string;
    /** The code of the problem that was sent as the answer, if any. */
    problem?: ProblemCode;
    /** The error behind an `internal` problem, for the log. */
    fault?: unknown;
    /** The number of bytes that were read from the request's body. */
    bytesIn?: number;
  };
}

/** A Hono application that also collects its OpenAPI description. */
export type HostApp = OpenAPIHono<HostEnv>;
