/** The bytes of a safetensors request: its headers are judged before a byte is taken, and the bytes are counted as they come. */

import type { Context } from "hono";
import { isSafetensorsType, OCTET_STREAM_TYPE, SAFETENSORS_TYPE } from "../src/protocol/media_type.ts";
import { readBody } from "./body_reader.ts";
import type { HostEnv, HostLimits } from "./host_env.ts";
import { Refusal } from "../src/protocol/refusal.ts";
import { shortPause, Turns } from "./yield_to_event_loop.ts";

/** A body about to be read. */
export interface RequestBody {
  /** Content-Length. */
  readonly totalBytes: number;
  /** The bytes, once; each chunk is valid until the next. @throws {Refusal} too_large, truncated_body */
  readonly source: AsyncIterable<Uint8Array>;
}

/** @throws {Refusal} unsupported_media_type, length_required, too_large */
export function requestBody(c: Context<HostEnv>, limits: HostLimits): RequestBody {
  const type = c.req.header("Content-Type");
  if (!isSafetensorsType(type)) {
    throw new Refusal(
      "unsupported_media_type",
      `Content-Type ${type ?? "(none)"}: must be ${SAFETENSORS_TYPE} or ${OCTET_STREAM_TYPE}`,
    );
  }
  const length = c.req.header("Content-Length");
  if (length === undefined || !/^\d{1,15}$/.test(length)) {
    throw new Refusal(
      "length_required",
      "Content-Length must be given: the size decides where the body goes",
    );
  }
  const totalBytes = Number(length);
  if (totalBytes > limits.maxBodyBytes) throw tooLarge(totalBytes, limits.maxBodyBytes);
  const { body } = c.req.raw;
  return { totalBytes, source: body ? counted(c, body, limits) : empty() };
}

async function* counted(
  c: Context<HostEnv>,
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  { maxBodyBytes, idleMilliseconds }: HostLimits,
): AsyncGenerator<Uint8Array, void, undefined> {
  const reader = readBody(body), turns = new Turns(shortPause);
  let total = 0, waiting = false, stalled = false, totalBefore = -1;
  // One timer a body: one a chunk would cost a tenth of the time that the bytes take.
  const watchdog = setInterval(() => {
    // While nobody asks for more it is the device that is slow, not the client.
    stalled = waiting && total === totalBefore;
    totalBefore = total;
    if (stalled) reader.cancel().catch(() => {});
  }, idleMilliseconds);
  try {
    while (true) {
      waiting = true;
      const bytes = await reader.read();
      waiting = false;
      if (stalled) {
        throw new Refusal(
          "truncated_body",
          `nothing came for ${idleMilliseconds / 1000} s after byte ${total}`,
        );
      }
      if (!bytes) return;
      total += bytes.byteLength;
      c.set("bytesIn", total);
      if (total > maxBodyBytes) throw tooLarge(total, maxBodyBytes);
      yield bytes;
      await turns.after(bytes.byteLength);
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal("truncated_body", `the connection ended after byte ${total}`, { cause });
  } finally {
    clearInterval(watchdog);
    // Tells the runtime that no more is wanted. Where the connection is gone there is no one left to tell.
    await reader.cancel().catch(() => {});
  }
}

async function* empty(): AsyncGenerator<Uint8Array, void, undefined> {}

function tooLarge(bytes: number, limit: number): Refusal {
  return new Refusal("too_large", `a body of ${bytes} bytes is over the limit of ${limit}`, {
    members: { limit },
  });
}
