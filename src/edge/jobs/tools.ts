/** What jobs are run with, from the Worker's bindings. */

import type { EdgeBindings } from "../bindings.ts";
import { signedUrl } from "../blobs/signed_urls.ts";
import { bucketOf, findBlob, keepBlob, newObjectKey } from "../blobs/store.ts";
import { hostsOf } from "../hosts/hosts_object.ts";
import { secretOf } from "../hosts/secret.ts";
import { wholeNumber } from "../settings.ts";
import type { AttemptTools, JobBlobs } from "./attempt.ts";
import { recordOf } from "./job_object.ts";

/** A task may wait and run for this long before its operands have been read and its answer written. */
const URL_SECONDS = 2 * 3600;

const DEFAULT_HOST_WAIT_SECONDS = 600;

/** The tools of job `id`. @throws {Refusal} unsupported, naming what the deployment has not */
export function jobTools(env: EdgeBindings, id: string): AttemptTools {
  return {
    job: id,
    record: recordOf(env, id),
    hosts: hostsOf(env),
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
