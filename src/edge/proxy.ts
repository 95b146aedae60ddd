/**
 * Forwards requests to the GPU host `EDGE_HOST`. Bodies are forwarded as streams in both directions, so the Worker's memory does not grow
 * with them. The host validates the tensors and solves.
 */

import type { Context } from "hono";
import { proxy } from "hono/proxy";
import type { ProblemCode } from "../protocol/problem.ts";
import { Refusal } from "../protocol/refusal.ts";
import { messageOf } from "../text/message_of.ts";
import { requireBodyLength } from "./body_length.ts";
import type { EdgeEnv } from "./edge_env.ts";

/** The Retry-After, in seconds, of the error that is sent if the host cannot be reached. */
const HOST_RETRY_SECONDS = 5;

/** The problems that the edge can answer to any request that it forwards. */
export const PROXY_PROBLEMS = ["internal", "no_device"] as const satisfies ProblemCode[];

/**
 * Forwards the request and returns the host's answer.
 * @param body the body of the request, if the caller has read it already
 * @throws {Refusal} `length_required`, `too_large`, or `no_device` if `EDGE_HOST` is not set or cannot be reached
 */
export async function proxyToHost(
  c: Context<EdgeEnv>,
  body?: Uint8Array<ArrayBuffer>,
): Promise<Response> {
  if (!body) requireBodyLength(c);
  const { EDGE_HOST: host, EDGE_HOST_KEY: key } = c.env;
  if (!host) throw new Refusal("no_device", "this edge has no GPU host, because EDGE_HOST is not set");
  const url = new URL(c.req.url);
  // The path is assigned to the URL of the host. If it were resolved against that URL, a path that begins
  // with two slashes could name another host.
  const target = new URL(host);
  target.pathname = url.pathname;
  target.search = url.search;
  const headers: Record<string, string> = { ...c.req.header(), "X-Request-Id": c.get("requestId") };
  // The edge answers for the origins that it allows. With the header, the host would add those of its own list.
  delete headers.origin;
  // The host's key is only for requests that the edge itself has authorised. Other requests are forwarded with the client's own header.
  if (key && c.get("isAuthorized")) headers.authorization = `Bearer ${key}`;
  try {
    return await proxy(target, { raw: c.req.raw, headers, ...body && { body } });
  } catch (cause) {
    const detail = `the GPU host ${target.origin} cannot be reached: ${messageOf(cause)}`;
    throw new Refusal("no_device", detail, { retryAfter: HOST_RETRY_SECONDS, cause });
  }
}
