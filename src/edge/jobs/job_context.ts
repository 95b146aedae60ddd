/** The services that the Workflow of a job uses. Tests replace them. */

import type { Digest } from "../../protocol/digest.ts";
import { sleep } from "../../base/waiting.ts";
import type { EdgeBindings } from "../bindings.ts";
import { signedUrl } from "../blobs/signed_urls.ts";
import { findBlob, newObjectKey, requireBucket, verifyBlob } from "../blobs/store.ts";
import type { HostRegistry } from "../hosts/host_registry.ts";
import { hostFetch } from "../hosts/solver_container.ts";
import { createFindSleepReason, type FindSleepReason } from "../hosts/woken_hosts.ts";
import { findJob, findRegistry, requireHostSecret, wholeNumber } from "../settings.ts";
import { Refusal } from "../../protocol/refusal.ts";
import type { Remote } from "../runtime.ts";
import type { JobRecord } from "./job_record.ts";

export interface JobContext {
  readonly job: string;
  readonly record: Remote<JobRecord>;
  readonly hosts: Remote<HostRegistry>;
  readonly blobs: JobBlobs;
  readonly transport: HostTransport;
  readonly findSleepReason: FindSleepReason;
  readonly sleep: (milliseconds: number) => Promise<void>;
  readonly now: () => number;
  /** The longest time that a layer waits for a host that is ready and has a free place. */
  readonly hostWaitMilliseconds: number;
}

/** The requests to hosts. */
export interface HostTransport {
  /** The secret with which the edge signs the ticket of each request. */
  readonly secret: string;
  readonly fetch: (url: URL, init: RequestInit) => Promise<Response>;
}

/** Access to blobs by signed URLs. The bytes do not pass through the Worker. */
export interface JobBlobs {
  /** Returns a signed URL to read a blob, or undefined if the blob does not exist. */
  readUrl(digest: Digest): Promise<string | undefined>;
  /** Returns the key of a new object and a signed URL to write it. */
  writeUrl(): Promise<{ key: string; url: string }>;
  /**
   * Makes the object at `key` the blob with this digest. The digest is verified, because a host has computed it.
   * @returns false if the object does not exist, has another size than `bytes`, or has another digest
   */
  publish(key: string, digest: Digest, bytes: number): Promise<boolean>;
}

/** The lifetime of signed URLs in seconds. A task must read its tensors and write its answer in this time. */
const URL_SECONDS = 2 * 3600;

const DEFAULT_HOST_WAIT_SECONDS = 600;

/** Builds the services of the job with this id. @throws {Refusal} `unsupported`, naming the binding that is missing */
export function createJobContext(env: EdgeBindings, id: string): JobContext {
  const fetch = hostFetch(env.SOLVER);
  return {
    job: id,
    record: findJob(env, id),
    hosts: findRegistry(env),
    blobs: jobBlobs(env),
    transport: { secret: requireHostSecret(env), fetch },
    findSleepReason: createFindSleepReason(fetch),
    sleep,
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
    async publish(key, digest, bytes) {
      const object = await requireBucket(env).head(key);
      if (object?.size !== bytes) return false;
      try {
        await verifyBlob(env, digest, key);
      } catch (error) {
        if (error instanceof Refusal && error.code === "digest_mismatch") return false;
        throw error;
      }
      return true;
    },
  };
}
