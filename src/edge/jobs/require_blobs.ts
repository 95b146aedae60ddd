/** Checks that the blobs of a new job exist. Otherwise a layer would fail only after a host had been chosen for it. */

import pMap from "p-map";
import type { Digest } from "../../protocol/digest.ts";
import type { JobRequest } from "../../protocol/resources/jobs.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import { findBlob, isFresh } from "../blobs/store.ts";

/** The number of blobs that are looked up at once. A Worker can wait for six answers of R2 at a time. */
const MAX_CONCURRENT_LOOKUPS = 6;

/**
 * Checks that the blobs exist and will exist for at least another day. The first missing blob ends the check.
 * @throws {Refusal} `not_found` with the digest in the member `blob`, and the layer that names the blob
 */
export async function requireBlobs(env: EdgeBindings, { layers }: JobRequest): Promise<void> {
  const users = new Map<Digest, string>();
  for (const { name, weight, hessian } of layers) {
    for (const digest of hessian === undefined ? [weight] : [weight, hessian]) {
      if (!users.has(digest)) users.set(digest, name);
    }
  }
  const requireBlob = async ([blob, layer]: [Digest, string]) => {
    const found = await findBlob(env, blob);
    if (found && isFresh(env, found)) return;
    throw new Refusal("not_found", `layer ${layer}: blob ${blob} is not stored`, { members: { blob } });
  };
  await pMap(users, requireBlob, { concurrency: MAX_CONCURRENT_LOOKUPS });
}
