/**
 * Signed URLs for S3 (AWS Signature Version 4, query-string form) by Web Crypto: who holds one may send that one request
 * until it expires, with no credentials. The payload is not signed: what is brought is judged by its digest later.
 *
 * Source: AWS, "Authenticating Requests: Using Query Parameters (AWS Signature Version 4)".
 */

const ALGORITHM = "AWS4-HMAC-SHA256";

/** Access to a bucket. */
export interface Credentials {
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
}

/** One request to be signed. */
export interface SignedRequest {
  readonly method: "GET" | "PUT";
  /** With the query of the operation, such as partNumber and uploadId. */
  readonly url: URL;
  /** When the URL begins to be valid. */
  readonly date: Date;
  /** For how long, 1 to 604800 (a week). */
  readonly expiresSeconds: number;
  /** R2 has but one, `auto`. */
  readonly region?: string;
}

/** The URL with its signature. @throws {RangeError} on an expiry outside what S3 accepts */
export async function presign(request: SignedRequest, credentials: Credentials): Promise<URL> {
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
  // Sorted as encoded, by code unit: the order that the signature is defined over.
  const encoded = query.map(([name, value]) => `${encode(name)}=${encode(value)}`).sort().join("&");
  const path = url.pathname.split("/").map((part) => encode(decodeURIComponent(part))).join("/");
  const canonical = [method, path, encoded, `host:${url.host}`, "", "host", "UNSIGNED-PAYLOAD"].join("\n");
  const toSign = [ALGORITHM, time, scope, toHex(await sha256(canonical))].join("\n");
  const key = await signingKey(credentials.secretAccessKey, day, region, "s3");
  url.search = `${encoded}&X-Amz-Signature=${toHex(await hmac(key, toSign))}`;
  return url;
}

/** The key of one day, region and service, derived from the secret. */
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

/** RFC 3986: only the unreserved characters stay as they are. */
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

async function sha256(text: string): Promise<Uint8Array<ArrayBuffer>> {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text)));
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
