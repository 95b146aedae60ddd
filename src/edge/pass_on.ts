/**
 * Passes a request on to the GPU host. The body is passed on as a stream, so no tensor is read here. Only its length is checked first,
 * against the limit of the deployment's plan. The host validates and solves.
 */

import type { Context } from "hono";
import { proxy } from "hono/proxy";
import { DEFAULT_EDGE_BODY_BYTES } from "../protocol/limits.ts";
import { Refusal } from "../protocol/refusal.ts";
import type { EdgeEnv } from "./edge_env.ts";
import { wholeNumber } from "./settings.ts";
import { messageOf } from "../text/message_of.ts";

/** The Retry-After for a host that cannot be reached, in seconds. */
const HOST_RETRY_SECONDS = 5;

/** Returns the largest body of this deployment, in bytes. */
function bodyLimit(c: Context<EdgeEnv>): number {
  return wholeNumber(c.env, "EDGE_BODY_LIMIT", DEFAULT_EDGE_BODY_BYTES, 1);
}

/** Returns the Content-Length of the body, or 0 without a body. @throws {Refusal} length_required, or too_large with `limit` and the URL of uploads */
export function bodyLength(c: Context<EdgeEnv>): number {
  if (!c.req.raw.body) return 0;
  const length = Number(c.req.header("Content-Length") ?? NaN);
  if (!Number.isSafeInteger(length)) {
    throw new Refusal("length_required", "Content-Length is missing or malformed");
  }
  const limit = bodyLimit(c);
  if (length > limit) {
    const uploads = c.env.BLOBS && new URL("/v1/uploads", c.req.url).href;
    const detail = `the body has ${length} bytes; this edge passes on at most ${limit}` +
      (uploads ? `: upload its tensors at ${uploads} instead` : "");
    throw new Refusal("too_large", detail, { members: { limit, uploads } });
  }
  return length;
}

/**
 * Passes the request on and returns the host's answer.
 * @param body the request's body, if it was read already
 * @throws {Refusal} length_required, too_large, or no_device if there is no host or it cannot be reached
 */
export async function passOn(c: Context<EdgeEnv>, body?: Uint8Array<ArrayBuffer>): Promise<Response> {
  if (!body) bodyLength(c);
  const { EDGE_HOST: host, EDGE_HOST_KEY: key } = c.env;
  if (!host) throw new Refusal("no_device", "this edge has no GPU host: EDGE_HOST is not set");
  const url = new URL(c.req.url);
  // The path is set on the host's URL. Resolving it would let a path that begins with two slashes name another host.
  const target = new URL(host);
  target.pathname = url.pathname;
  target.search = url.search;
  const headers: Record<string, string> = { ...c.req.header(), "X-Request-Id": c.get("requestId") };
  // Only clients that the edge has authorised itself get the host's key. Others keep their own header.
  if (key && c.get("isAuthorized")) headers.authorization = `Bearer ${key}`;
  try {
    return await proxy(target, { raw: c.req.raw, headers, ...body && { body } });
  } catch (cause) {
    const reason = messageOf(cause);
    const detail = `the GPU host ${target.origin} cannot be reached: ${reason}`;
    throw new Refusal("no_device", detail, { retryAfter: HOST_RETRY_SECONDS, cause });
  }
}
