/** Reads whole request bodies, and recognises clients that disconnect in the middle of a body. */

import type { Context } from "hono";
import { EDGE_BODY_SECONDS } from "../../protocol/limits.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeEnv } from "../bindings.ts";

/**
 * Returns the body of the request.
 * @param length the length of the body in bytes, from the header Content-Length
 * @param milliseconds the longest time for the body
 * @throws {Refusal} `truncated_body` if the body ends early, `too_slow` if it takes too long
 */
export async function readBody(
  c: Context<EdgeEnv>,
  length: number,
  milliseconds: number = EDGE_BODY_SECONDS * 1000,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length), reader = c.req.raw.body?.getReader();
  if (!reader) return bytes;
  let filled = 0, isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    reader.cancel().catch(() => {});
  }, milliseconds);
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      bytes.set(chunk.value, filled);
      filled += chunk.value.byteLength;
    }
  } catch (cause) {
    if (!isLate) throw disconnectRefusal(cause);
  } finally {
    clearTimeout(timer);
  }
  if (filled === length) return bytes;
  const arrived = `${filled} of ${length} bytes have arrived`;
  if (isLate) throw new Refusal("too_slow", `after ${milliseconds / 1000} s ${arrived}`);
  throw new Refusal("truncated_body", arrived);
}

/** Reads the body as {@link readBody} does, and caches it for the handler. */
export async function cacheBody(c: Context<EdgeEnv>, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const body = await readBody(c, length);
  // Hono keeps promises here, although its type says otherwise.
  Object.assign(c.req.bodyCache, { arrayBuffer: Promise.resolve(body.buffer) });
  return body;
}

export function hasDisconnected(c: Context<EdgeEnv>): boolean {
  return c.req.raw.signal.aborted;
}

/** Returns the refusal for a client that has disconnected, which is not logged as a fault of the edge. */
export function disconnectRefusal(cause: unknown): Refusal {
  return new Refusal("truncated_body", "the client disconnected before the end of its request", { cause });
}
