/** Reads the body of a response into one array and checks its length. */

/**
 * Reads the whole body. If the response declares its length, the array is allocated once.
 * @throws {RangeError} if the body is shorter or longer than its Content-Length
 */
export async function readResponseBody(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const length = declaredLength(response.headers);
  if (!response.body || length === undefined) return new Uint8Array(await response.arrayBuffer());
  const bytes = new Uint8Array(length);
  let filled = 0;
  for await (const chunk of response.body) {
    if (filled + chunk.length > length) {
      throw new RangeError(`response body: is longer than its Content-Length of ${length} bytes`);
    }
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  if (filled < length) throw new RangeError(`response body: ended after ${filled} of ${length} bytes`);
  return bytes;
}

/**
 * Returns the Content-Length, or undefined if there is none or the body is compressed. The Content-Length of
 * a compressed body counts the compressed bytes.
 */
function declaredLength(headers: Headers): number | undefined {
  const length = headers.get("Content-Length");
  return length === null || headers.has("Content-Encoding") ? undefined : Number(length);
}
