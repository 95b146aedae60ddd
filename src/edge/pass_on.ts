/**
 * Passes a request on to the GPU host, its body as the untouched stream it arrives as: no byte of a tensor is seen here. The
 * length is judged before, by the plan's limit; validation and the solve are the host's.
 */

import type { Context } from "hono";
import { proxy } from "hono/proxy";
import { DEFAULT_EDGE_BODY_BYTES } from "../protocol/limits.ts";
import { Refusal } from "../protocol/refusal.ts";
import type { EdgeEnv } from "./edge_env.ts";
import { wholeNumber } from "./settings.ts";
import { messageOf } from "../text/message_of.ts";

/** Seconds after which a host that cannot be reached may be back. */
const HOST_RETRY_SECONDS = 5;

/** Largest body of this deployment, in bytes. */
function bodyLimit(c: Context<EdgeEnv>): number {
  return wholeNumber(c.env, "EDGE_BODY_LIMIT", DEFAULT_EDGE_BODY_BYTES, 1);
}

/** Content-Length of the body; 0 without one. @throws {Refusal} length_required, too_large with `limit` and the URL of uploads */
export function bodyLength(c: Context<EdgeEnv>): number {
  if (!c.req.raw.body) return 0;
  const length = Number(c.req.header("Content-Length") ?? NaN);
  if (!Number.isSafeInteger(length)) throw new Refusal("length_required", "a body needs a Content-Length");
  const limit = bodyLimit(c);
  if (length > limit) {
    const uploads = c.env.BLOBS && new URL("/v1/uploads", c.req.url).href;
    const detail = `the body has ${length} bytes; this edge passes on at most ${limit}` +
      (uploads ? `: bring its tensors through ${uploads}` : "");
    throw new Refusal("too_large", detail, { members: { limit, uploads } });
  }
  return length;
}

/**
 * The host's answer. `body`: the request's, where it had to be read before.
 * @throws {Refusal} length_required, too_large; no_device where there is no host or it cannot be reached
 */
export async function passOn(c: Context<EdgeEnv>, body?: Uint8Array<ArrayBuffer>): Promise<Response> {
  if (!body) bodyLength(c);
  const { PARE_HOST: host, PARE_HOST_KEY: key } = c.env;
  if (!host) throw new Refusal("no_device", "this edge has no GPU host: PARE_HOST is not set");
  const url = new URL(c.req.url);
  // Resolved against the host, a path that begins with two slashes would name another.
  const target = new URL(host);
  target.pathname = url.pathname;
  target.search = url.search;
  const headers: Record<string, string> = { ...c.req.header(), "X-Request-Id": c.get("requestId") };
  // Lent to those alone whom the edge has judged itself: others come with what they have.
  if (key && c.get("admitted")) headers.authorization = `Bearer ${key}`;
  try {
    return await proxy(target, { raw: c.req.raw, headers, ...body && { body } });
  } catch (cause) {
    const reason = messageOf(cause);
    const detail = `the GPU host ${target.origin} cannot be reached: ${reason}`;
    throw new Refusal("no_device", detail, { retryAfter: HOST_RETRY_SECONDS, cause });
  }
}
