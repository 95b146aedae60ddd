/**
 * Compares signed URLs with the examples that AWS publishes. `uploads_slow_test.ts` shows that R2 accepts such
 * URLs.
 */

import assert from "node:assert/strict";
import { describe, it } from "@std/testing/bdd";
import { presign, signingKey } from "../../src/edge/blobs/presign.ts";

/** The access key of AWS's examples. */
const CREDENTIALS = {
  accessKeyId: "AKIAIOSFODNN7EXAMPLE",
  secretAccessKey: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
};

const EXAMPLE = {
  method: "GET",
  url: new URL("https://examplebucket.s3.amazonaws.com/test.txt"),
  date: new Date("2013-05-24T00:00:00Z"),
  expiresSeconds: 86_400,
  region: "us-east-1",
} as const;

describe("presign()", () => {
  it("returns the URL of AWS's example", async () => {
    const url = await presign(EXAMPLE, CREDENTIALS);
    assert.equal(
      url.href,
      "https://examplebucket.s3.amazonaws.com/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256" +
        "&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
        "&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host" +
        "&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404",
    );
  });

  it("derives the signing key of AWS's example", async () => {
    const secret = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
    assert.equal(
      (await signingKey(secret, "20150830", "us-east-1", "iam")).toHex(),
      "c4afb1cc5771d871763a393e44b703571b55cc28424d1a5e86da6ed3c154a4b9",
    );
  });

  it("sorts all query parameters before it signs them, and also signs the method", async () => {
    const url = new URL("https://h/b/a%20b(1)?uploadId=x%2By&partNumber=10");
    const signed = await presign({ ...EXAMPLE, method: "PUT", url }, CREDENTIALS);
    assert.match(
      signed.search,
      /X-Amz-SignedHeaders=host&partNumber=10&uploadId=x%2By&X-Amz-Signature=[0-9a-f]{64}$/,
    );
    const other = await presign({ ...EXAMPLE, url }, CREDENTIALS);
    assert.notEqual(signed.searchParams.get("X-Amz-Signature"), other.searchParams.get("X-Amz-Signature"));
  });

  it("throws for an expiry that S3 does not accept", async () => {
    for (const expiresSeconds of [0, 604_801, NaN]) {
      await assert.rejects(presign({ ...EXAMPLE, expiresSeconds }, CREDENTIALS), RangeError);
    }
  });
});
