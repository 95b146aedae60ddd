/** Hashing a stream without one of its bytes passing through JavaScript: the Workers runtime's own sink does it. */

import { type Digest, formatDigest } from "../../protocol/digest.ts";

/** The Workers runtime's addition to Web Crypto. */
interface StreamingCrypto {
  readonly DigestStream: new (
    algorithm: "SHA-256",
  ) => WritableStream & { readonly digest: Promise<ArrayBuffer> };
}

/** The digest of all that `stream` holds. @throws what the stream fails with */
export async function sha256OfStream(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Digest> {
  const sink = new (crypto as unknown as StreamingCrypto).DigestStream("SHA-256");
  await stream.pipeTo(sink);
  return formatDigest(new Uint8Array(await sink.digest));
}
