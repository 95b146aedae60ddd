/** Reads the body of a response. If the runtime allows it, the connection writes into the array that is returned. */

import { MalformedAnswerError } from "./errors.ts";

/**
 * Reads the whole body. If the response declares its length, the array is allocated once.
 * @param maxBytes the largest accepted length in bytes
 * @throws {MalformedAnswerError} if the body is longer than `maxBytes`
 * @throws {RangeError} if the body is shorter or longer than its Content-Length
 */
export async function readResponseBody(
  response: Response,
  maxBytes: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const length = declaredLength(response.headers), { body } = response;
  if (!body) return new Uint8Array();
  if (length === undefined) {
    const { bytes, isWhole } = await readPrefix(body, maxBytes);
    if (isWhole) return bytes;
    throw overlong(maxBytes);
  }
  if (length > maxBytes) {
    await body.cancel();
    throw overlong(maxBytes);
  }
  const reader = byobReader(body);
  return reader ? await readIntoArray(reader, length) : await copyChunks(body.getReader(), length);
}

/** The size of the array into which a body of unknown length is read at first, in bytes. */
const FIRST_CAPACITY = 2 ** 16;

/** Reads at most `maxBytes` bytes of a body whose length is unknown. `isWhole` says whether they are the whole body. */
export async function readPrefix(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  maxBytes: number,
): Promise<{ readonly bytes: Uint8Array<ArrayBuffer>; readonly isWhole: boolean }> {
  const reader = body.getReader();
  let bytes = new Uint8Array(Math.min(FIRST_CAPACITY, maxBytes)), filled = 0;
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    const chunk = next.value.subarray(0, maxBytes - filled), length = filled + chunk.length;
    if (length > bytes.length) {
      const larger = new Uint8Array(Math.min(Math.max(2 * bytes.length, length), maxBytes));
      larger.set(bytes.subarray(0, filled));
      bytes = larger;
    }
    bytes.set(chunk, filled);
    filled = length;
    if (chunk.length === next.value.length) continue;
    await reader.cancel();
    return { bytes, isWhole: false };
  }
  return { bytes: bytes.subarray(0, filled), isWhole: true };
}

function overlong(maxBytes: number): MalformedAnswerError {
  return new MalformedAnswerError(`the body of the answer is longer than ${maxBytes} bytes`);
}

/** Returns the Content-Length. Undefined if there is none, or if it counts compressed bytes. */
function declaredLength(headers: Headers): number | undefined {
  const length = headers.get("Content-Length");
  return length === null || headers.has("Content-Encoding") ? undefined : Number(length);
}

/** Returns a reader that fills arrays of its caller (BYOB), or undefined if the runtime or `body` has none. */
function byobReader(body: ReadableStream<Uint8Array<ArrayBuffer>>): ReadableStreamBYOBReader | undefined {
  try {
    return body.getReader({ mode: "byob" });
  } catch (error) {
    if (error instanceof TypeError && !body.locked) return undefined;
    throw error;
  }
}

async function readIntoArray(
  reader: ReadableStreamBYOBReader,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  let bytes = new Uint8Array(length), filled = 0, hasEnded = false;
  while (filled < length && !hasEnded) {
    const { done, value } = await reader.read(bytes.subarray(filled));
    // Deno may report the end together with the last bytes.
    hasEnded = done;
    if (!value) break;
    filled += value.byteLength;
    // Each read transfers the memory to a new buffer.
    bytes = new Uint8Array(value.buffer);
  }
  if (filled < length) throw tooShort(filled, length);
  if (!hasEnded && (await reader.read(new Uint8Array(1))).value?.byteLength) {
    await reader.cancel();
    throw tooLong(length);
  }
  return bytes;
}

async function copyChunks(
  reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>>,
  length: number,
): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(length);
  let filled = 0;
  // A reader is used because the streams of some browsers cannot be iterated.
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    const chunk = next.value;
    if (filled + chunk.length > length) {
      await reader.cancel();
      throw tooLong(length);
    }
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  if (filled < length) throw tooShort(filled, length);
  return bytes;
}

function tooShort(filled: number, length: number): RangeError {
  return new RangeError(`response body: ended after ${filled} of ${length} bytes`);
}

function tooLong(length: number): RangeError {
  return new RangeError(`response body: is longer than its Content-Length of ${length} bytes`);
}
