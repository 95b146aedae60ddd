/**
 * Reads whole request bodies, and recognises clients that disconnect in the middle of a body. They are not a
 * fault of the edge (Pare's Cloudflare Worker).
 */

import type { Context } from "hono";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeEnv } from "../edge_env.ts";

/**
 * The longest time for a whole body, in milliseconds. The Worker reads no body of more than 16 MiB, which
 * takes half a minute at 4 Mbit/s.
 */
const BODY_MILLISECONDS = 60_000;

/**
 * Returns the body of the request.
 * @param length the length of the body in bytes, from the header Content-Length
 * @throws {Refusal} `truncated_body` if the body ends early or takes too long
 */
export async function readBody(c: Context<EdgeEnv>, length: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length), reader = c.req.raw.body?.getReader();
  if (!reader) return bytes;
  let filled = 0, isLate = false;
  const timer = setTimeout(() => {
    isLate = true;
    reader.cancel().catch(() => {});
  }, BODY_MILLISECONDS);
  try {
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      bytes.set(chunk.value, filled);
      filled += chunk.value.byteLength;
    }
  } catch (cause) {
    throw clientLeft(cause);
  } finally {
    clearTimeout(timer);
  }
  if (filled === length) return bytes;
  const reason = isLate ? `after ${BODY_MILLISECONDS / 1000} s ` : "";
  throw new Refusal("truncated_body", `${reason}${filled} of ${length} bytes have arrived`);
}

/** Whether the client has closed the connection. */
export function hasClientLeft(c: Context<EdgeEnv>): boolean {
  return c.req.raw.signal.aborted;
}

/** Returns the refusal for a client that has disconnected. Nobody reads the answer, but the log has its code. */
export function clientLeft(cause: unknown): Refusal {
  return new Refusal("truncated_body", "the client disconnected before the end of its request", { cause });
}
