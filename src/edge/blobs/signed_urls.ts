/** Signs URLs of objects in the bucket (AWS Signature Version 4), so that tensors need not pass through the Worker. */

import { AwsV4Signer } from "aws4fetch";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";

/**
 * Returns a URL that permits a GET or a PUT of the object `key` for `expiresSeconds` from now. `query` has the
 * parameters of the operation.
 * @throws {Refusal} `unsupported`, naming the variable that is not set
 */
export async function signedUrl(
  env: EdgeBindings,
  method: "GET" | "PUT",
  key: string,
  expiresSeconds: number,
  query: Readonly<Record<string, string>> = {},
): Promise<string> {
  const base = requireBucketVariable(env, "BLOBS_S3_URL");
  const url = new URL(`${base.replace(/\/$/, "")}/${key}`);
  for (const [name, value] of Object.entries({ ...query, "X-Amz-Expires": expiresSeconds })) {
    url.searchParams.set(name, String(value));
  }
  const signer = new AwsV4Signer({
    method,
    url: url.href,
    accessKeyId: requireBucketVariable(env, "BLOBS_ACCESS_KEY_ID"),
    secretAccessKey: requireBucketVariable(env, "BLOBS_SECRET_ACCESS_KEY"),
    service: "s3",
    region: "auto", // R2 has only one
    signQuery: true,
  });
  return (await signer.sign()).url.href;
}

/** Returns a variable that describes the bucket. @throws {Refusal} `unsupported` if it is not set */
export function requireBucketVariable(
  env: EdgeBindings,
  name: "BLOBS_S3_URL" | "BLOBS_ACCESS_KEY_ID" | "BLOBS_SECRET_ACCESS_KEY",
): string {
  const value = env[name];
  if (!value) throw new Refusal("unsupported", `this edge cannot sign URLs, because ${name} is not set`);
  return value;
}
