/** Checks the size of bodies by their Content-Length, and names the URL for uploads if they are too large. */

import type { Context, MiddlewareHandler } from "hono";
import { DEFAULT_EDGE_BODY_BYTES } from "../../protocol/limits.ts";
import { requireNoEncoding } from "../../protocol/headers.ts";
import { invalidParameter, Refusal, tooLarge } from "../../protocol/refusal.ts";
import { messageOf } from "../../base/errors.ts";
import { checkBounds, decodeUtf8 } from "../../base/json.ts";
import type { EdgeEnv } from "../bindings.ts";
import { wholeNumber } from "../settings.ts";
import { cacheBody } from "./read_body.ts";

/** The largest JSON body in bytes. The largest body of a regular client lists 10,000 uploaded parts in about 600 kB. */
export const MAX_JSON_BODY_BYTES = 2 ** 20;

/** Returns middleware that limits a JSON body, and refuses invalid UTF-8, whose bytes the parser would replace. */
export function requireJsonBody(limit: number, subject: string): MiddlewareHandler<EdgeEnv> {
  return async (c, next) => {
    const length = limitBody(c, limit, subject);
    if (c.req.raw.body) requireJson(await cacheBody(c, length));
    await next();
  };
}

/** @throws {Refusal} `invalid_parameter` if `bytes` are not valid UTF-8, or have more values or deeper nesting than `JsonBounds` allow */
function requireJson(bytes: Uint8Array): void {
  try {
    checkBounds(bytes);
    decodeUtf8(bytes);
  } catch (error) {
    throw invalidParameter("body", messageOf(error));
  }
}

/**
 * Returns the Content-Length of the request in bytes, or 0 if it has no body.
 * @throws {Refusal} `unsupported_media_type` if the body is compressed, `length_required`, or `too_large` with `limit`
 * and the URL of `uploads` if the deployment has a bucket
 */
export function requireBodyLength(c: Context<EdgeEnv>): number {
  if (!c.req.raw.body) return 0;
  requireNoEncoding(c.req.header("Content-Encoding"));
  const length = Number(c.req.header("Content-Length") ?? NaN);
  if (!Number.isSafeInteger(length)) {
    throw new Refusal("length_required", "Content-Length is missing or malformed");
  }
  const limit = wholeNumber(c.env, "EDGE_BODY_LIMIT", DEFAULT_EDGE_BODY_BYTES, 1);
  if (length > limit) {
    const uploads = c.env.BLOBS && new URL("/v1/uploads", c.req.url).href;
    const detail = `the body has ${length} bytes, but the limit of this edge is ${limit}` +
      (uploads ? `: upload the tensors at ${uploads} instead` : "");
    throw new Refusal("too_large", detail, { members: { limit, uploads } });
  }
  return length;
}

/**
 * Returns and checks the length as {@link requireBodyLength} does. It may be at most `limit` bytes. Errors name `subject`.
 * @throws {Refusal} `length_required`, or `too_large` with `limit`
 */
export function limitBody(c: Context<EdgeEnv>, limit: number, subject: string): number {
  const length = requireBodyLength(c);
  if (length > limit) throw tooLarge(subject, length, limit);
  return length;
}
