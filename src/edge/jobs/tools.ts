/** Builds the services of a job from the bindings of the Worker. */

import type { EdgeBindings } from "../bindings.ts";
import { signedUrl } from "../blobs/signed_urls.ts";
import { bucketOf, findBlob, keepBlob, newObjectKey } from "../blobs/store.ts";
import { findRegistry } from "../hosts/find_registry.ts";
import { secretOf } from "../hosts/secret.ts";
import { wholeNumber } from "../settings.ts";
import type { AttemptTools, JobBlobs } from "./attempt.ts";
import { findJob } from "./find_job.ts";

/** The lifetime of signed URLs: a task must read its operands and write its answer within this time. */
const URL_SECONDS = 2 * 3600;

const DEFAULT_HOST_WAIT_SECONDS = 600;

/** Returns the services of job `id`. @throws {Refusal} `unsupported`, naming the binding that is missing */
export function jobTools(env: EdgeBindings, id: string): AttemptTools {
  return {
    job: id,
    record: findJob(env, id),
    hosts: findRegistry(env),
    blobs: jobBlobs(env),
    calls: { secret: secretOf(env), fetch: (url, init) => fetch(url, init) },
    sleep: (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds)),
    now: Date.now,
    hostWaitMilliseconds: 1000 * wholeNumber(env, "EDGE_HOST_WAIT", DEFAULT_HOST_WAIT_SECONDS, 0),
  };
}

function jobBlobs(env: EdgeBindings): JobBlobs {
  return {
    async readUrl(digest) {
      const blob = await findBlob(env, digest);
      return blob && await signedUrl(env, "GET", blob.key, URL_SECONDS);
    },
    async writeUrl() {
      const key = newObjectKey();
      return { key, url: await signedUrl(env, "PUT", key, URL_SECONDS) };
    },
    async keep(key, digest, bytes) {
      const object = await bucketOf(env).head(key);
      if (object?.size !== bytes) return false;
      await keepBlob(env, digest, key, bytes);
      return true;
    },
  };
}
