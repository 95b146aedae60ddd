/**
 * Reads the safetensors body of a request. `requestBody` checks the headers, the size of the body and its rate.
 * `openBodyReader` reads the bytes, with one buffer for all reads if the stream supports that.
 */

import type { Context } from "hono";
import type { HostServices } from "../src/host/host_services.ts";
import { TransferRate, watchTransfer } from "../src/host/transfers.ts";
import { requireNoEncoding, requireSafetensorsType } from "../src/protocol/headers.ts";
import { Refusal, tooLarge } from "../src/protocol/refusal.ts";
import type { HostEnv } from "./host_app.ts";
import { setImmediate } from "node:timers";

export interface RequestBody {
  /** The length of the body in bytes, from the header Content-Length. */
  readonly totalBytes: number;
  /**
   * The bytes, which can be read once. A chunk is valid until the next one is read. The iteration throws the refusal
   * `truncated_body` if the body is incomplete, `too_slow` if it arrives below the minimum rate, and `too_large` if it
   * has too many bytes.
   */
  readonly source: AsyncIterable<Uint8Array>;
}

/** The parts of a host that a body needs. */
type BodyServices = Pick<HostServices, "limits" | "clock">;

/** Checks the headers of the body. @throws {Refusal} `unsupported_media_type`, `length_required`, `too_large` */
export function requestBody(c: Context<HostEnv>, services: BodyServices): RequestBody {
  requireSafetensorsType(c.req.header("Content-Type"));
  requireNoEncoding(c.req.header("Content-Encoding"));
  const totalBytes = contentLength(c.req.header("Content-Length"));
  const { maxBodyBytes } = services.limits;
  if (totalBytes > maxBodyBytes) throw tooLarge("the body", totalBytes, maxBodyBytes);
  const { body } = c.req.raw;
  return { totalBytes, source: body ? limitedBody(c, body, services) : emptyBody() };
}

/** Returns the number in a Content-Length header. @throws {Refusal} `length_required` */
function contentLength(header: string | undefined): number {
  if (header !== undefined && /^\d+$/.test(header)) return Number(header);
  throw new Refusal(
    "length_required",
    "Content-Length is missing or malformed: the host must know the size before it reads the body",
  );
}

/** Yields the bytes of `body`. Fails if there are too many of them, or if they arrive too slowly. */
async function* limitedBody(
  c: Context<HostEnv>,
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  { limits, clock }: BodyServices,
): AsyncGenerator<Uint8Array, void, undefined> {
  const { maxBodyBytes, leastBytesPerSecond, bodyWindowMilliseconds: windowMilliseconds } = limits;
  const reader = openBodyReader(body), pauses = new TransferPauses(shortPause);
  const rate = new TransferRate({ leastBytesPerSecond, windowMilliseconds, clock });
  let total = 0, isTooSlow = false, refuse = (_refusal: Refusal) => {};
  using _watch = watchTransfer(windowMilliseconds, () => {
    if (!rate.isTooSlow()) return;
    isTooSlow = true;
    refuse(
      new Refusal(
        "too_slow",
        `fewer than ${leastBytesPerSecond} bytes per second arrived during ${
          windowMilliseconds / 1000
        } s, up to byte ${total}`,
      ),
    );
  });
  const read = () =>
    new Promise<Uint8Array | undefined>((resolve, reject) => {
      refuse = reject;
      reader.read().then(resolve, reject);
    });
  try {
    while (true) {
      rate.startWaiting();
      const bytes = await read();
      if (!bytes) return;
      rate.addBytes(bytes.byteLength);
      total += bytes.byteLength;
      c.set("bytesIn", total);
      if (total > maxBodyBytes) throw tooLarge("the body", total, maxBodyBytes);
      yield bytes;
      await pauses.afterBytes(bytes.byteLength);
    }
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw new Refusal("truncated_body", `the connection ended after byte ${total}`, { cause });
  } finally {
    // Makes the runtime stop reading. The call fails if the connection is closed, which does not matter. A body that is
    // too slow is not cancelled, because Deno 2.9 would then keep its connection open after the answer.
    if (!isTooSlow) await reader.cancel().catch(() => {});
  }
}

async function* emptyBody(): AsyncGenerator<Uint8Array, void, undefined> {}

/** The size of the buffer for one read, in bytes. Deno never delivers more than this in one read. */
const READ_BUFFER_BYTES = 2 ** 20;

export interface BodyReader {
  /**
   * Returns the next bytes, which are valid until the next call. Returns undefined at the end of the body, and after
   * `cancel`.
   * @throws the error of the connection if it ends early
   */
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Stops reading. Has no effect at the end of the body. */
  cancel(): Promise<void>;
}

/** Opens a reader of `body`. The stream is locked from then on. */
export function openBodyReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): BodyReader {
  const reader = byobReader(body);
  if (!reader) return plainReader(body);
  let buffer = new ArrayBuffer(READ_BUFFER_BYTES), ended = false;
  return {
    async read() {
      if (ended) return undefined;
      const { done, value } = await reader.read(new Uint8Array(buffer));
      // Deno may deliver the last bytes together with the end.
      ended = done;
      if (value === undefined || value.byteLength === 0) return undefined;
      buffer = value.buffer;
      return value;
    },
    cancel: () => reader.cancel(),
  };
}

/** Returns a reader that fills the caller's buffers, or undefined unless `body` is a byte stream. */
function byobReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError && !body.locked) return undefined;
    throw error;
  }
}

/** Returns a reader for streams that cannot fill a buffer of the caller. */
function plainReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): BodyReader {
  const reader = body.getReader();
  return { read: async () => (await reader.read()).value, cancel: () => reader.cancel() };
}

/** The number of bytes between two pauses. Their transfer takes ten to thirty milliseconds. */
const BYTES_BETWEEN_PAUSES = 16 * 2 ** 20;

/** Pauses for 2 to 3 ms, with a timer of 0 ms. With `setImmediate` alone, the event loop accepts no new connections. */
export function longPause(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 0));
}

/**
 * Pauses for less than a millisecond. It waits for the digest of an empty array, which is computed on another thread,
 * and then for the next iteration of the event loop. It does both twice, because a single iteration may fall between
 * two checks of the timers. It is not used while an answer is sent, because new connections would then wait several
 * times as long as with `longPause`.
 */
export async function shortPause(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await crypto.subtle.digest("SHA-256", new Uint8Array(0));
    await new Promise((resolve) => setImmediate(resolve));
  }
}

/** Counts the bytes of one transfer, and pauses after every few megabytes. */
export class TransferPauses {
  readonly #pause: () => Promise<void>;
  #bytes = 0;

  constructor(pause: () => Promise<void>) {
    this.#pause = pause;
  }

  async afterBytes(bytes: number): Promise<void> {
    this.#bytes += bytes;
    if (this.#bytes < BYTES_BETWEEN_PAUSES) return;
    this.#bytes = 0;
    await this.#pause();
  }
}
