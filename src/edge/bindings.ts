/**
 * The bindings, variables and secrets that `wrangler.toml` and the deployment give to the Worker. All of them are optional. A feature whose
 * bindings are missing refuses requests with an error that names the binding, and the other features work.
 */

import type { HostRegistry } from "./hosts/registry.ts";
import type { ObservedJob } from "./jobs/observed_job.ts";
import type { DurableObjectNamespace, Remote } from "./durable_objects/durable_object.ts";
import type { Workflow } from "./jobs/workflow_types.ts";
import type { R2Bucket, RateLimit } from "./runtime.ts";

/** Bindings, secrets and variables. Variables are text. */
export interface EdgeBindings {
  /** The origin of the GPU host to which requests are passed on. Without it only jobs and `EDGE_SOLVE` can solve layers. */
  readonly EDGE_HOST?: string;
  /** Secret: the digests and scopes of keys, `HEX:SCOPE+SCOPE,…` (`protocol/keys.ts`). */
  readonly PARE_KEYS?: string;
  /** Secret: the key that the edge sends to `EDGE_HOST` in place of the key of a client that it has authorised itself. */
  readonly EDGE_HOST_KEY?: string;
  /** Secret: signs the tickets between the edge and its hosts. */
  readonly EDGE_HOST_SECRET?: string;
  /** "true": accept requests without a key if `PARE_KEYS` is not set. For use on one's own machine. */
  readonly EDGE_OPEN?: string;

  /** The largest body that is passed on, in bytes. */
  readonly EDGE_BODY_LIMIT?: string;
  /** "true": solve layers with at most 1024 rows and columns in the Worker. */
  readonly EDGE_SOLVE?: string;
  /** The size of an upload's parts in bytes, except the last one. At least 5 MiB on R2. */
  readonly EDGE_PART_BYTES?: string;
  /** The number of days after which blobs are deleted. */
  readonly EDGE_BLOB_DAYS?: string;

  /** The bucket for tensors, with the folders `blobs/`, `objects/` and `uploads/` (`blobs/store.ts`). */
  readonly BLOBS?: R2Bucket;
  /** The S3 URL of the bucket, `https://ACCOUNT.r2.cloudflarestorage.com/BUCKET`. Signed URLs begin with it. */
  readonly BLOBS_S3_URL?: string;
  /** Secret: the id of the access key for that URL. */
  readonly BLOBS_ACCESS_KEY_ID?: string;
  /** Secret: the secret of that access key. */
  readonly BLOBS_SECRET_ACCESS_KEY?: string;

  /** The rate limit: requests per minute and key. */
  readonly RATE?: RateLimit;
  /** The Workflow that runs jobs: `JobWorkflow` of `classes.ts`. */
  readonly JOBS?: Workflow;
  /** The records of jobs, one Durable Object per job: `JobObject` of `classes.ts`. */
  readonly JOB_RECORDS?: DurableObjectNamespace<Remote<ObservedJob>>;
  /** The registry of hosts, a single Durable Object: `HostsObject` of `classes.ts`. */
  readonly HOSTS?: DurableObjectNamespace<Remote<HostRegistry>>;
  /** The number of seconds that a layer waits for a host before it fails. */
  readonly EDGE_HOST_WAIT?: string;
  /** The number of seconds without progress after which a job is restarted when a client submits it again. */
  readonly EDGE_JOB_SILENCE?: string;
  /** The number of days after which the record of a job is deleted. */
  readonly EDGE_JOB_DAYS?: string;
}
