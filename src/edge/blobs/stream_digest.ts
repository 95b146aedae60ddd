/** Hashes a stream with the Workers runtime's own sink, so that none of its bytes pass through JavaScript. */

import { type Digest, formatDigest } from "../../protocol/digest.ts";

/** The addition of the Workers runtime to Web Crypto. */
interface StreamingCrypto {
  readonly DigestStream: new (
    algorithm: "SHA-256",
  ) => WritableStream & { readonly digest: Promise<ArrayBuffer> };
}

/** Returns the digest of a stream. @throws the stream's error */
export async function sha256OfStream(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Digest> {
  const sink = new (crypto as unknown as StreamingCrypto).DigestStream("SHA-256");
  await stream.pipeTo(sink);
  return formatDigest(new Uint8Array(await sink.digest));
}
