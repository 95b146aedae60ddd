/**
 * Reads the body of a response. If the runtime allows it, the connection writes into the array that is returned. Otherwise the chunks of the
 * body are copied into the array.
 */

/**
 * Reads the whole body. If the response declares its length, the array is allocated once.
 * @throws {RangeError} if the body is shorter or longer than its Content-Length
 */
export async function readResponseBody(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const length = declaredLength(response.headers), { body } = response;
  if (!body || length === undefined) return new Uint8Array(await response.arrayBuffer());
  const reader = byobReader(body);
  return reader ? await readIntoArray(reader, length) : await copyChunks(body.getReader(), length);
}

/**
 * Returns the Content-Length, or undefined if there is none or the body is compressed. The Content-Length of
 * a compressed body counts the compressed bytes.
 */
function declaredLength(headers: Headers): number | undefined {
  const length = headers.get("Content-Length");
  return length === null || headers.has("Content-Encoding") ? undefined : Number(length);
}

/** Returns a reader that fills an array of its caller (BYOB), or undefined if the runtime or `body` has no such reader. */
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
