/**
 * Reads the body of a request that stores statistics (a Hessian). The body is read onto the device and hashed at the same time. The
 * statistics are stored only if the body has the digest that the request names.
 */

import { createHash } from "node:crypto";
import type { Backend } from "../backend/backend.ts";
import { readHessian, type ReadOptions } from "../layer/read_layer.ts";
import { type Digest, formatDigest, hashedStream } from "../protocol/digest.ts";
import type { FactorStore } from "./factor_store.ts";

/** A body does not have the digest that the request names. */
export class DigestMismatchError extends Error {
  override name = "DigestMismatchError";

  constructor(readonly expected: Digest, readonly got: Digest) {
    super(`the body has the digest ${got}, not ${expected}`);
  }
}

/**
 * Reads a body into `store` under `digest`. If it throws, nothing is stored.
 * @returns the order of the statistics, and whether they are new in the store
 * @throws {DigestMismatchError} {StoreBudgetError} and what `readHessian` throws
 */
export async function storeHessian(
  backend: Backend,
  store: FactorStore,
  digest: Digest,
  source: AsyncIterable<Uint8Array>,
  options: ReadOptions,
): Promise<{ order: number; added: boolean }> {
  const hash = createHash("sha256");
  const hessian = await readHessian(backend, hashedStream(source, hash), options);
  const got = formatDigest(hash.digest());
  if (got !== digest) {
    hessian.destroy();
    throw new DigestMismatchError(digest, got);
  }
  return { order: hessian.cols, added: store.add(digest, hessian) };
}
