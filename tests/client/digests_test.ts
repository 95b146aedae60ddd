/** Tests that every way to compute the digest of a body gives the same digest. */

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { describe, it } from "@std/testing/bdd";
import { digestOfBlob, digestOfBytes } from "../../src/client/digests.ts";
import { normals } from "../../scripts/fixtures/random.ts";

/** The digest of the text `abc` in the standard FIPS 180-4. */
const DIGEST_OF_ABC = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

const ABC = new TextEncoder().encode("abc");

/** Runs `call` as in a page that is not a secure context, which has no `crypto.subtle`. */
async function withoutWebCrypto<T>(call: () => Promise<T>): Promise<T> {
  Object.defineProperty(crypto, "subtle", { value: undefined, configurable: true });
  try {
    return await call();
  } finally {
    Reflect.deleteProperty(crypto, "subtle");
    assert.ok(crypto.subtle, "crypto.subtle is there again");
  }
}

describe("digests of bodies", () => {
  it("are SHA-256, with and without Web Crypto", async () => {
    assert.equal(await digestOfBytes(ABC), DIGEST_OF_ABC);
    assert.equal(await withoutWebCrypto(() => digestOfBytes(ABC)), DIGEST_OF_ABC);
  });

  it("of blobs are the same whether a blob is read as a whole or in chunks", async () => {
    const bytes = new Uint8Array(normals(2_200_000, 1).buffer);
    const expected = `sha256:${createHash("sha256").update(bytes).digest("hex")}`;
    const reads: number[] = [];
    const source = {
      size: bytes.length,
      slice(start: number, end: number) {
        reads.push(end - start);
        return new Blob([bytes.slice(start, end)]);
      },
    };
    assert.equal(await digestOfBlob(source), expected);
    assert.deepEqual(reads.splice(0), [8_800_000]);
    assert.equal(await digestOfBlob(source, undefined, bytes.length - 1), expected);
    assert.deepEqual(reads, [8 * 2 ** 20, 8_800_000 - 8 * 2 ** 20]);
  });

  it("stop with the signal's reason when the signal is aborted", async () => {
    const reason = new Error("enough");
    await assert.rejects(digestOfBlob(new Blob([ABC]), AbortSignal.abort(reason)), reason);
    await assert.rejects(digestOfBlob(new Blob([ABC]), AbortSignal.abort(reason), 0), reason);
  });
});
