/** Hashes streams with the `DigestStream` of the Workers runtime, so that the bytes do not pass through JavaScript. */

import { type Digest, formatDigest } from "../../protocol/digest.ts";

/** The extension of Web Crypto that only the Workers runtime has. */
interface StreamingCrypto {
  readonly DigestStream: new (
    algorithm: "SHA-256",
  ) => WritableStream & { readonly digest: Promise<ArrayBuffer> };
}

/** Reads a stream to its end and returns its digest. @throws the stream's error */
export async function sha256OfStream(stream: ReadableStream<Uint8Array<ArrayBuffer>>): Promise<Digest> {
  const sink = new (crypto as unknown as StreamingCrypto).DigestStream("SHA-256");
  await stream.pipeTo(sink);
  return formatDigest(new Uint8Array(await sink.digest));
}
