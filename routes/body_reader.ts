/**
 * Reads a body in large pieces. While the processors are busy with a solve, every piece waits a few milliseconds for processor time. The
 * default reader has pieces of 64 KiB, with which a body would arrive at only 15 MB/s.
 */

/** The largest piece, in bytes. Deno never delivers more than this in one read. */
const READ_BUFFER_BYTES = 2 ** 20;

/** A reader of one body. */
export interface BodyReader {
  /**
   * Returns the next bytes, which are valid until the next call. Returns undefined at the end of the body, and after `cancel`.
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

/** Returns a reader that fills the caller's buffers, or undefined if the stream supports none. Only the streams of connections do. */
function byobReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError && !body.locked) return undefined;
    throw error;
  }
}

/** Returns a reader that gets the chunks of the stream as they are. */
function plainReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): BodyReader {
  const reader = body.getReader();
  return { read: async () => (await reader.read()).value, cancel: () => reader.cancel() };
}
