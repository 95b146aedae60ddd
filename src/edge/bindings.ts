/**
 * What `wrangler.toml` and the deployment's secrets give the Worker. Everything past `PARE_HOST` is optional: a part whose
 * bindings are absent refuses by name what it cannot do, and the others serve.
 */

import type { DurableObjectNamespace, Remote } from "./hosts/durable_object.ts";
import type { HostsMethods } from "./hosts/hosts_methods.ts";
import type { JobMethods } from "./jobs/job_methods.ts";
import type { Workflow } from "./jobs/workflow_types.ts";
import type { R2Bucket, RateLimit } from "./runtime.ts";

/** Bindings, secrets and vars. Vars are text. */
export interface EdgeBindings {
  /** Origin of the GPU host that requests are passed on to. Without it only `EDGE_SOLVE` solves. */
  readonly PARE_HOST?: string;
  /** Secret: keys by digest with scopes, `HEX:SCOPE+SCOPE,…` (`protocol/keys.ts`). */
  readonly PARE_KEYS?: string;
  /** Secret: the key that the edge shows to `PARE_HOST` in place of the key of a client that it has let in itself. */
  readonly PARE_HOST_KEY?: string;
  /** Secret: signs tickets between the edge and its hosts. */
  readonly EDGE_HOST_SECRET?: string;
  /** "true": serve everyone where no `PARE_KEYS` are set. For a machine of one's own. */
  readonly EDGE_OPEN?: string;

  /** Largest body passed on, in bytes. */
  readonly EDGE_BODY_LIMIT?: string;
  /** "true": layers with both dimensions at most 1024 are solved in the Worker. */
  readonly EDGE_SOLVE?: string;
  /** Bytes of an upload's part, the last one excepted; at least 5 MiB on R2. */
  readonly EDGE_PART_BYTES?: string;
  /** Days that blobs are kept. */
  readonly EDGE_BLOB_DAYS?: string;

  /** Tensors: `blobs/` and `uploads/` (`blobs/store.ts`). */
  readonly BLOBS?: R2Bucket;
  /** S3 URL of the bucket, `https://ACCOUNT.r2.cloudflarestorage.com/BUCKET`: where signed URLs point. */
  readonly BLOBS_S3_URL?: string;
  /** Secret: access key of that URL. */
  readonly BLOBS_ACCESS_KEY_ID?: string;
  /** Secret: its secret. */
  readonly BLOBS_SECRET_ACCESS_KEY?: string;

  /** Requests a minute, a key. */
  readonly RATE?: RateLimit;
  /** The Workflow that runs jobs: `JobWorkflow` of `classes.ts`. */
  readonly JOBS?: Workflow;
  /** What is known of each job, by its id: `JobObject`. */
  readonly JOB_RECORDS?: DurableObjectNamespace<Remote<JobMethods>>;
  /** The registry of hosts, a single object: `HostsObject`. */
  readonly HOSTS?: DurableObjectNamespace<Remote<HostsMethods>>;
  /** Seconds that a layer waits for a host to be alive before it fails. */
  readonly EDGE_HOST_WAIT?: string;
  /** Seconds without a sign of what runs a job, after which a client that submits it again has it run anew. */
  readonly EDGE_JOB_SILENCE?: string;
  /** Days that a job's record is kept. */
  readonly EDGE_JOB_DAYS?: string;
}
