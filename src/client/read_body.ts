/** Reading a response's body whole, with its length checked. */

/**
 * The body in one array, allocated once where its length is known.
 * @throws {RangeError} if the body is shorter or longer than its Content-Length
 */
export async function readBody(response: Response): Promise<Uint8Array<ArrayBuffer>> {
  const length = announcedLength(response.headers);
  if (!response.body || length === undefined) return new Uint8Array(await response.arrayBuffer());
  const bytes = new Uint8Array(length);
  let filled = 0;
  for await (const chunk of response.body) {
    if (filled + chunk.length > length) {
      throw new RangeError(`response body: goes on after the ${length} bytes announced`);
    }
    bytes.set(chunk, filled);
    filled += chunk.length;
  }
  if (filled < length) throw new RangeError(`response body: ended after ${filled} of ${length} bytes`);
  return bytes;
}

/** Content-Length, where it counts the bytes to be read: a compressed body's counts those on the wire. */
function announcedLength(headers: Headers): number | undefined {
  const length = headers.get("Content-Length");
  return length === null || headers.has("Content-Encoding") ? undefined : Number(length);
}
