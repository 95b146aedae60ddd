/**
 * Takes the bytes of a body in pieces as large as they come. Where the processors are busy with a solve, every piece waits for its turn on
 * one of them, a few milliseconds; in the default reader's pieces of 64 KiB a body then comes in at 15 MB/s. It counts and judges nothing.
 */

/** Bytes of a piece at most: Deno hands on no more at once. */
const PIECE_BYTES = 2 ** 20;

/** A body being read. */
export interface BodyReader {
  /** The next bytes, valid until the next call; undefined at the end, or once cancelled. @throws when the connection ends early */
  read(): Promise<Uint8Array<ArrayBuffer> | undefined>;
  /** Tells the sender that no more is wanted. Harmless at the end. */
  cancel(): Promise<void>;
}

/** Locks `body` and reads it. */
export function readBody(body: ReadableStream<Uint8Array<ArrayBuffer>>): BodyReader {
  const reader = byobReader(body);
  if (!reader) return plainReader(body);
  let buffer = new ArrayBuffer(PIECE_BYTES), ended = false;
  return {
    async read() {
      if (ended) return undefined;
      const { done, value } = await reader.read(new Uint8Array(buffer));
      // Deno may give the last bytes together with the end.
      ended = done;
      if (value === undefined || value.byteLength === 0) return undefined;
      buffer = value.buffer;
      return value;
    },
    cancel: () => reader.cancel(),
  };
}

/** Streams made by other means than a connection, as in tests, take no buffers. */
function byobReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError && !body.locked) return undefined;
    throw error;
  }
}

function plainReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): BodyReader {
  const reader = body.getReader();
  return { read: async () => (await reader.read()).value, cancel: () => reader.cancel() };
}
