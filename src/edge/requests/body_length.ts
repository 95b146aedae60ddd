/**
 * Checks the size of request bodies by their Content-Length, before anything reads them. Cloudflare refuses
 * bodies over the limit of the deployment's plan. The edge (Pare's Cloudflare Worker) refuses such bodies
 * first, so that its error can name the URL where tensors can be uploaded instead.
 */

import type { Context, MiddlewareHandler } from "hono";
import { DEFAULT_EDGE_BODY_BYTES } from "../../protocol/limits.ts";
import { Refusal, tooLarge } from "../../protocol/refusal.ts";
import type { EdgeEnv } from "../edge_env.ts";
import { wholeNumber } from "../settings.ts";

/**
 * The largest JSON body in bytes. The largest regular one completes an upload of 10,000 parts, which takes
 * about 600 kB.
 */
export const MAX_JSON_BYTES = 2 ** 20;

/** Returns middleware that checks the size of a body with {@link limitBody}, before the body is read and parsed. */
export function requireSmallBody(limit: number, subject: string): MiddlewareHandler<EdgeEnv> {
  return async (c, next) => {
    limitBody(c, limit, subject);
    await next();
  };
}

/**
 * Returns the Content-Length of the request in bytes, or 0 if it has no body.
 * @throws {Refusal} `length_required`, or `too_large` with `limit` and the URL of `uploads` if the deployment has a bucket
 */
export function requireBodyLength(c: Context<EdgeEnv>): number {
  if (!c.req.raw.body) return 0;
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
 * Checks that the body has at most `limit` bytes, in addition to {@link requireBodyLength}.
 * @param subject the content of the body, for the error message
 * @throws {Refusal} `length_required`, or `too_large` with `limit`
 */
export function limitBody(c: Context<EdgeEnv>, limit: number, subject: string): void {
  const length = requireBodyLength(c);
  if (length > limit) throw tooLarge(subject, length, limit);
}
