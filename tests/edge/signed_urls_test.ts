/**
 * Compares signed URLs with the algorithm that AWS publishes ("Authenticating Requests: Using Query Parameters"), which is written out here.
 * `uploads_slow_test.ts` shows that R2 accepts such URLs.
 */

import assert from "node:assert/strict";
import { createHash, createHmac } from "node:crypto";
import { describe, it } from "@std/testing/bdd";
import { signedUrl } from "../../src/edge/blobs/signed_urls.ts";

const ENV = {
  BLOBS_S3_URL: "https://h/b/",
  BLOBS_ACCESS_KEY_ID: "AKIAIOSFODNN7EXAMPLE",
  BLOBS_SECRET_ACCESS_KEY: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};

/** Returns the signature of a URL that is otherwise complete. */
function signatureOf(method: string, url: URL): string {
  const query = [...url.searchParams].filter(([name]) => name !== "X-Amz-Signature");
  const encoded = query.map((pair) => pair.map(encodeURIComponent).join("=")).sort().join("&");
  const canonical = [method, url.pathname, encoded, `host:${url.host}`, "", "host", "UNSIGNED-PAYLOAD"].join(
    "\n",
  );
  const time = url.searchParams.get("X-Amz-Date")!, scope = `${time.slice(0, 8)}/auto/s3/aws4_request`;
  const hmac = (key: string | Uint8Array, text: string) => createHmac("sha256", key).update(text).digest();
  const key = scope.split("/").reduce<string | Uint8Array>(hmac, `AWS4${ENV.BLOBS_SECRET_ACCESS_KEY}`);
  const digest = createHash("sha256").update(canonical).digest("hex");
  return hmac(key, ["AWS4-HMAC-SHA256", time, scope, digest].join("\n")).toString("hex");
}

describe("signedUrl()", () => {
  for (const method of ["GET", "PUT"] as const) {
    it(`signs the method ${method}, the key and every parameter, for the given time`, async () => {
      const query = { uploadId: "x+y/z", partNumber: "10" };
      const url = new URL(await signedUrl(ENV, method, "objects/a b", 3600, query));
      assert.equal(url.origin + url.pathname, "https://h/b/objects/a%20b");
      const { "X-Amz-Signature": signature, "X-Amz-Date": date, ...parameters } = Object.fromEntries(
        url.searchParams,
      );
      assert.deepEqual(parameters, {
        ...query,
        "X-Amz-Algorithm": "AWS4-HMAC-SHA256",
        "X-Amz-Credential": `${ENV.BLOBS_ACCESS_KEY_ID}/${date.slice(0, 8)}/auto/s3/aws4_request`,
        "X-Amz-Expires": "3600",
        "X-Amz-SignedHeaders": "host",
      });
      assert.equal(signature, signatureOf(method, url));
    });
  }

  it("names the variable that is not set", async () => {
    await assert.rejects(signedUrl({ ...ENV, BLOBS_S3_URL: "" }, "GET", "a", 1), /BLOBS_S3_URL is not set/);
  });
});
