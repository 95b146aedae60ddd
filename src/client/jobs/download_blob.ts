/** Downloads a blob, and verifies its digest. */

import type { CallOptions, Transport } from "../transport.ts";
import { digestOfBytes } from "../digests.ts";
import { MalformedAnswerError } from "../errors.ts";

/** The largest number of downloads of a blob. If the bytes were damaged in transit, the second download succeeds. */
const ATTEMPTS = 2;

/**
 * Returns the bytes of the blob with this digest, `sha256:HEX`.
 * @throws {MalformedAnswerError} if the bytes have another digest in every attempt, or if there are more than
 * `maxAnswerBytes`
 * @throws {PareError} `not_found` if the edge does not store the blob
 */
export async function downloadBlob(
  transport: Transport,
  digest: string,
  maxAnswerBytes: number,
  { signal }: CallOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  let got = "";
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const bytes = await transport.send({
      method: "GET",
      path: `/v1/blobs/${digest}`,
      maxAnswerBytes,
      signal,
    });
    got = await digestOfBytes(bytes);
    if (got === digest) return bytes;
  }
  throw new MalformedAnswerError(
    `blob ${digest}: the server has sent bytes with the digest ${got}, in ${ATTEMPTS} attempts`,
  );
}
