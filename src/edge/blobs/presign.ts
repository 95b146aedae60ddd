/**
 * Signs URLs for S3 with AWS Signature Version 4 in its query-string form. Until the URL expires, its holder
 * may send the signed request without credentials. The signature does not cover the payload. The bytes of an
 * upload are checked later, by their digest.
 *
 * Source: AWS, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
 */

import { sha256 } from "../../protocol/digest.ts";

const ALGORITHM = "AWS4-HMAC-SHA256";

/** The access key of a bucket. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** A request to be signed. */
export interface RequestToSign {
  readonly method: "GET" | "PUT";
  /** The URL with the query of the operation, such as partNumber and uploadId. */
  readonly url: URL;
  /** The time from which the URL is valid. */
  readonly date: Date;
  /** The number of seconds for which the URL is valid, from 1 to 604800 (a week). */
  readonly expiresSeconds: number;
  /** The region. R2 has only one, `auto`. */
  readonly region?: string;
}

/** Returns the signed URL of a request. @throws {RangeError} if `expiresSeconds` is out of range */
export async function presign(request: RequestToSign, credentials: Credentials): Promise<URL> {
  const { method, date, expiresSeconds, region = "auto" } = request;
  if (!(expiresSeconds >= 1 && expiresSeconds <= 604_800)) {
    throw new RangeError(`expiresSeconds: must be from 1 to 604800, got ${expiresSeconds}`);
  }
  const time = date.toISOString().replace(/[:-]|\.\d+/g, "");
  const day = time.slice(0, 8);
  const scope = `${day}/${region}/s3/aws4_request`;
  const url = new URL(request.url);
  const query: [string, string][] = [
    ...url.searchParams,
    ["X-Amz-Algorithm", ALGORITHM],
    ["X-Amz-Credential", `${credentials.accessKeyId}/${scope}`],
    ["X-Amz-Date", time],
    ["X-Amz-Expires", String(expiresSeconds)],
    ["X-Amz-SignedHeaders", "host"],
  ];
  // The signature covers the encoded parameters in the order of their code units.
  const encoded = query.map(([name, value]) => `${encode(name)}=${encode(value)}`).sort().join("&");
  const path = url.pathname.split("/").map((part) => encode(decodeURIComponent(part))).join("/");
  const canonical = [method, path, encoded, `host:${url.host}`, "", "host", "UNSIGNED-PAYLOAD"].join("\n");
  const toSign = [ALGORITHM, time, scope, (await sha256(new TextEncoder().encode(canonical))).toHex()].join(
    "\n",
  );
  const key = await signingKey(credentials.secretAccessKey, day, region, "s3");
  url.search = `${encoded}&X-Amz-Signature=${(await hmac(key, toSign)).toHex()}`;
  return url;
}

/** Derives the signing key for one day (YYYYMMDD), region and service from the secret. */
export async function signingKey(
  secret: string,
  day: string,
  region: string,
  service: string,
): Promise<Uint8Array<ArrayBuffer>> {
  let key = new TextEncoder().encode(`AWS4${secret}`);
  for (const part of [day, region, service, "aws4_request"]) key = await hmac(key, part);
  return key;
}

/** Percent-encodes everything except the unreserved characters of RFC 3986. */
function encode(text: string): string {
  return encodeURIComponent(text).replace(
    /[!'()*]/g,
    (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`,
  );
}

async function hmac(key: Uint8Array<ArrayBuffer>, text: string): Promise<Uint8Array<ArrayBuffer>> {
  const imported = await crypto.subtle.importKey("raw", key, { name: "HMAC", hash: "SHA-256" }, false, [
    "sign",
  ]);
  return new Uint8Array(await crypto.subtle.sign("HMAC", imported, new TextEncoder().encode(text)));
}
