/** Forwards requests to the host `EDGE_HOST`. Bodies are streamed, so the Worker's memory does not grow with them. */

import type { Context } from "hono";
import { proxy } from "hono/proxy";
import { sha256 } from "../protocol/digest.ts";
import type { ProblemCode } from "../protocol/problem_codes.ts";
import { Refusal } from "../protocol/refusal.ts";
import { idSchema } from "../protocol/resources/fields.ts";
import { messageOf } from "../base/errors.ts";
import { requireBodyLength } from "./requests/body_length.ts";
import type { EdgeEnv } from "./bindings.ts";
import { logFailure } from "./problems.ts";
import { disconnectRefusal, hasDisconnected } from "./requests/read_body.ts";
import { wholeNumber } from "./settings.ts";

/** The Retry-After, in seconds, of the error that is sent if the host cannot be reached. */
const HOST_RETRY_SECONDS = 5;

/** The problems that the edge can answer to any request that it forwards. */
export const PROXY_PROBLEMS = ["internal", "no_device"] as const satisfies ProblemCode[];

/**
 * The headers that the host receives. All others describe the client or the connection to the edge, such as cookies,
 * `Forwarded` and `Proxy-Authorization`. `Origin` is left out, because the edge itself allows origins, and the host
 * would add its own list of origins.
 */
const FORWARDED_HEADERS: readonly string[] = [
  "accept",
  "authorization",
  "content-encoding",
  "content-length",
  "content-type",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "prefer",
  "range",
  "traceparent",
  "tracestate",
  "user-agent",
];

/** The paths whose whole answer must arrive in time. Other answers may be long, so only their headers must arrive in time. */
const PROBES: readonly string[] = ["/healthz", "/readyz", "/metrics"];

const DEFAULT_TIMEOUT_SECONDS = 10;

/**
 * Forwards the request and returns the host's answer.
 * @param body the body of the request, if the caller has read it already
 * @throws {Refusal} `length_required`, `too_large`, or `no_device` if `EDGE_HOST` is not set, cannot be reached, does
 * not answer in time or redirects the request
 */
export async function proxyToHost(
  c: Context<EdgeEnv>,
  body?: Uint8Array<ArrayBuffer>,
): Promise<Response> {
  if (!body) requireBodyLength(c);
  if (!c.env.EDGE_HOST) {
    throw new Refusal("no_device", "this edge has no GPU host, because EDGE_HOST is not set");
  }
  const target = await targetOf(c, c.env.EDGE_HOST);
  let response: Response;
  try {
    response = await fetchInTime(c, target, body);
  } catch (cause) {
    if (hasDisconnected(c)) throw disconnectRefusal(cause);
    // The runtime does not say whose connection broke in the middle of a forwarded body.
    const subject = c.req.raw.body ? `${target.origin}, or the client` : target.origin;
    throw unreachable(c, `${subject}: ${messageOf(cause)}`, cause);
  }
  const { status } = response;
  if (status >= 300 && status <= 399 && status !== 304) {
    await response.body?.cancel();
    throw unreachable(c, `${target.origin}: redirects with status ${status}`);
  }
  // A host has no sessions, so a cookie would come from another server at its address.
  response.headers.delete("Set-Cookie");
  return response;
}

/**
 * Returns the URL at the host. The path of the request replaces the path of the host. It is not resolved as a relative
 * URL, because a path with `//` could name another host. The host sees one key for all clients that the edge has
 * authorised, so the hidden states of each client get a name of their own.
 */
async function targetOf(c: Context<EdgeEnv>, host: string): Promise<URL> {
  const { pathname, search } = new URL(c.req.url), client = c.get("client");
  const target = Object.assign(new URL(host), { pathname, search });
  if (client === undefined) return target;
  const inPath = c.req.param("name"), inQuery = target.searchParams.getAll("states");
  if (inPath !== undefined) {
    const own = await statesName(client, inPath);
    target.pathname = pathname.split("/").with(STATES_NAME_SEGMENT, own).join("/");
  }
  // The host refuses a repeated parameter.
  if (inQuery.length === 1) target.searchParams.set("states", await statesName(client, inQuery[0]));
  return target;
}

/** The place of the name in `/v1/states/NAME`. */
const STATES_NAME_SEGMENT = 3;

/** Returns the name of the states at the host. A malformed name stays, so that the host refuses it. */
async function statesName(client: string, name: string): Promise<string> {
  if (!idSchema.safeParse(name).success) return encodeURIComponent(name);
  return (await sha256(new TextEncoder().encode(`${client}/${name}`))).toHex();
}

/** Sends the request to the host. If the request has no body, it is aborted when the host does not answer in time. */
async function fetchInTime(
  c: Context<EdgeEnv>,
  target: URL,
  body: Uint8Array<ArrayBuffer> | undefined,
): Promise<Response> {
  const { raw } = c.req, seconds = wholeNumber(c.env, "EDGE_HOST_TIMEOUT", DEFAULT_TIMEOUT_SECONDS, 1);
  const late = new AbortController();
  // A request with a body may be a solve, which can take minutes.
  const timer = raw.body ? undefined : setTimeout(() => {
    late.abort(new Error(`the host did not answer within ${seconds} s`));
  }, seconds * 1000);
  try {
    const response = await proxy(target, {
      raw,
      headers: forwardedHeaders(c),
      redirect: "manual",
      signal: AbortSignal.any([raw.signal, late.signal]),
      ...body && { body },
    });
    if (!PROBES.includes(target.pathname)) clearTimeout(timer);
    return response;
  } catch (error) {
    clearTimeout(timer);
    throw error;
  }
}

function forwardedHeaders(c: Context<EdgeEnv>): Record<string, string> {
  const headers: Record<string, string> = { "x-request-id": c.get("requestId") };
  for (const name of FORWARDED_HEADERS) {
    const value = c.req.header(name);
    if (value !== undefined) headers[name] = value;
  }
  const { EDGE_HOST_KEY: key } = c.env;
  // The host's key is only for requests that the edge itself has authorised. The others have the client's own header.
  if (key && c.get("isAuthorized")) headers.authorization = `Bearer ${key}`;
  return headers;
}

/** Logs why the host cannot be used. Returns the refusal for the client, without the address of the host. */
function unreachable(c: Context<EdgeEnv>, error: string, cause?: unknown): Refusal {
  logFailure({ request_id: c.get("requestId"), host: error });
  const detail =
    "the GPU host of this edge cannot be reached. The log of the edge has the cause under this request id";
  return new Refusal("no_device", detail, { retryAfter: HOST_RETRY_SECONDS, cause });
}
