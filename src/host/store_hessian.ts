/** Stores statistics that layers will share: streams them in, hashes them on the way, and stores them only if the digest is right. */

import { createHash } from "node:crypto";
import type { Backend } from "../backend/backend.ts";
import { type Digest, formatDigest } from "../protocol/digest.ts";
import type { FactorStore } from "./factor_store.ts";
import { readHessian, type ReadOptions } from "../layer/read_layer.ts";

/** A body does not have the digest that the request gave. */
export class DigestMismatchError extends Error {
  override name = "DigestMismatchError";

  constructor(readonly expected: Digest, readonly got: Digest) {
    super(`the body is ${got}, not ${expected}`);
  }
}

/**
 * Reads a body into `store` under `digest`. If it throws, nothing is stored.
 * @returns the order of the statistics, and whether they are new
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
  const hessian = await readHessian(backend, hashed(source, hash), options);
  const got = formatDigest(hash.digest());
  if (got !== digest) {
    hessian.destroy();
    throw new DigestMismatchError(digest, got);
  }
  return { order: hessian.cols, added: store.add(digest, hessian) };
}

async function* hashed(
  source: AsyncIterable<Uint8Array>,
  hash: ReturnType<typeof createHash>,
): AsyncGenerator<Uint8Array> {
  for await (const chunk of source) {
    hash.update(chunk);
    yield chunk;
  }
}
