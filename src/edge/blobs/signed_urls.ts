/**
 * Signed URLs of the bucket's objects: clients bring parts and hosts fetch operands by them, so that no tensor passes
 * through the Worker. Which key an object has is `store.ts`'s to say.
 */

import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import { presign } from "../sigv4.ts";

/**
 * The URL by which whoever holds it may GET or PUT one object for `expiresSeconds` from now. `query` is the operation's
 * own, as for a part of a multipart upload.
 * @throws {Refusal} unsupported, naming what the deployment has not set
 */
export async function signedUrl(
  env: EdgeBindings,
  method: "GET" | "PUT",
  key: string,
  expiresSeconds: number,
  query: Readonly<Record<string, string>> = {},
): Promise<string> {
  const base = required(env, "BLOBS_S3_URL");
  const url = new URL(`${base.replace(/\/$/, "")}/${key}`);
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, value);
  const signed = await presign({ method, url, date: new Date(), expiresSeconds }, {
    accessKeyId: required(env, "BLOBS_ACCESS_KEY_ID"),
    secretAccessKey: required(env, "BLOBS_SECRET_ACCESS_KEY"),
  });
  return signed.href;
}

function required(
  env: EdgeBindings,
  name: "BLOBS_S3_URL" | "BLOBS_ACCESS_KEY_ID" | "BLOBS_SECRET_ACCESS_KEY",
): string {
  const value = env[name];
  if (!value) throw new Refusal("unsupported", `this edge signs no URLs: ${name} is not set`);
  return value;
}
