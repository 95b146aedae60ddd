/** Reads the body of a safetensors request: checks the headers first, then counts the bytes while they arrive. */

import type { Context } from "hono";
import { isSafetensorsType, OCTET_STREAM_TYPE, SAFETENSORS_TYPE } from "../src/protocol/media_type.ts";
import { openBodyReader } from "./body_reader.ts";
import type { HostEnv, HostLimits } from "./host_env.ts";
import { Refusal } from "../src/protocol/refusal.ts";
import { shortPause, TransferPauses } from "./yield_to_event_loop.ts";

/** A body that is ready to be read. */
export interface RequestBody {
  /** The Content-Length. */
  readonly totalBytes: number;
  /** Yields the bytes, once. Each chunk is valid until the next one. @throws {Refusal} too_large, truncated_body */
  readonly source: AsyncIterable<Uint8Array>;
}

/** Checks the headers and returns the body. @throws {Refusal} unsupported_media_type, length_required, too_large */
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
      "Content-Length is missing or malformed: the host needs the size before it reads the body",
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
  const reader = openBodyReader(body), pauses = new TransferPauses(shortPause);
  let total = 0, waiting = false, stalled = false, totalBefore = -1;
  // One timer per body. A timer per chunk would take a tenth of the transfer time.
  const watchdog = setInterval(() => {
    // If nothing is being awaited from the client, then the device is slow and not the client.
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
          `no data arrived for ${idleMilliseconds / 1000} s after byte ${total}`,
        );
      }
      if (!bytes) return;
      total += bytes.byteLength;
      c.set("bytesIn", total);
      if (total > maxBodyBytes) throw tooLarge(total, maxBodyBytes);
      yield bytes;
      await pauses.afterBytes(bytes.byteLength);
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal("truncated_body", `the connection ended after byte ${total}`, { cause });
  } finally {
    clearInterval(watchdog);
    // Tells the runtime to stop reading. This fails if the connection is gone, which does not matter.
    await reader.cancel().catch(() => {});
  }
}

async function* empty(): AsyncGenerator<Uint8Array, void, undefined> {}

function tooLarge(bytes: number, limit: number): Refusal {
  return new Refusal("too_large", `the body has ${bytes} bytes, the limit is ${limit}`, {
    members: { limit },
  });
}
