/**
 * The bindings, variables and secrets of the Worker. All of them are optional. A numeric variable that is not set has a
 * default. Without `RATE` there is no rate limit. If another one is missing, only the requests that need it are
 * refused, with an error that names it.
 */

import type { OpenAPIHono } from "@hono/zod-openapi";
import type { HostRegistry } from "./hosts/host_registry.ts";
import type { SolverContainer } from "./hosts/solver_container.ts";
import type { JobIndex } from "./jobs/job_index.ts";
import type { JobRecord } from "./jobs/job_record.ts";
import type { DurableObjectNamespace, R2Bucket, RateLimit, Remote, Workflow } from "./runtime.ts";

/** The environment that the runtime passes to the Worker. Variables and secrets are strings. */
export interface EdgeBindings {
  /** The origin of the host to which requests are forwarded. Without it, only jobs and `EDGE_SOLVE` solve layers. */
  readonly EDGE_HOST?: string;
  /** The number of seconds in which `EDGE_HOST` must begin to answer a request without a body. Default: 10. */
  readonly EDGE_HOST_TIMEOUT?: string;
  /** Secret: the key that the edge sends to `EDGE_HOST` in place of the key of a client that it has authorised. */
  readonly EDGE_HOST_KEY?: string;
  /** Secret: signs the requests that the edge and its hosts send to each other (`protocol/tickets.ts`). */
  readonly EDGE_HOST_SECRET?: string;
  /** Secret: the sha-256 of each client's key with its scopes, `HEX:SCOPE+SCOPE,…` (`protocol/keys.ts`). */
  readonly PARE_KEYS?: string;
  /** The origins of pages that may use the API, separated by commas (`protocol/cors.ts`). Default: none. */
  readonly PARE_CORS_ORIGINS?: string;
  /** "true": accept requests without a key if `PARE_KEYS` is not set. Meant for an edge on one's own machine. */
  readonly EDGE_OPEN?: string;
  /** The names of an edge with `EDGE_OPEN` besides the names of loopback (`protocol/host_names.ts`). Default: none. */
  readonly PARE_HOSTS?: string;

  /** The size in bytes of the largest request body that the edge accepts. Default: 100 MB. */
  readonly EDGE_BODY_LIMIT?: string;
  /** "true": solve layers with at most 1024 rows and columns in the Worker. */
  readonly EDGE_SOLVE?: string;
  /** The size in bytes of an upload's parts, except for the last part. R2 requires at least 5 MiB. Default: 64 MiB. */
  readonly EDGE_PART_BYTES?: string;
  /** The number of days after which a blob is deleted, at least 2. Default: 7. */
  readonly EDGE_BLOB_DAYS?: string;

  /** The bucket for tensors, with the folders `blobs/`, `objects/` and `uploads/` (`blobs/store.ts`). */
  readonly BLOBS?: R2Bucket;
  /** The S3 URL of the bucket, `https://ACCOUNT.r2.cloudflarestorage.com/BUCKET`. Signed URLs begin with it. */
  readonly BLOBS_S3_URL?: string;
  /** Secret: the id of the access key that signs the URLs of the bucket. */
  readonly BLOBS_ACCESS_KEY_ID?: string;
  /** Secret: the secret of that access key. */
  readonly BLOBS_SECRET_ACCESS_KEY?: string;

  /** Limits the requests per minute of each key. */
  readonly RATE?: RateLimit;
  /** The Workflow that runs jobs: `JobWorkflow` of `classes.ts`. The id of an instance is the id of its job. */
  readonly JOBS?: Workflow<JobParams>;
  /** The records of jobs, one Durable Object per job: `JobObject` of `classes.ts`. */
  readonly JOB_RECORDS?: DurableObjectNamespace<Remote<JobRecord>>;
  /** The lists of clients' jobs, one Durable Object per client: `JobIndexObject` of `classes.ts`. */
  readonly JOB_INDEXES?: DurableObjectNamespace<Remote<JobIndex>>;
  /** The registry of hosts, a single Durable Object: `HostsObject` of `classes.ts`. */
  readonly HOSTS?: DurableObjectNamespace<Remote<HostRegistry>>;
  /** The hosts that are woken by a request, `ID=URL,…` (`hosts/woken_hosts.ts`). Default: none. */
  readonly EDGE_WOKEN_HOSTS?: string;
  /** The host in a container of Cloudflare: `SolverObject` of `classes.ts`. */
  readonly SOLVER?: DurableObjectNamespace<Remote<SolverContainer>>;
  /** The number of seconds that a layer of a job waits for a host before it fails. Default: 600. */
  readonly EDGE_HOST_WAIT?: string;
  /** The number of seconds without progress after which a job that is submitted again is restarted. Default: 60. */
  readonly EDGE_JOB_SILENCE?: string;
  /** The number of days after which the record of a job is deleted. Default: 7. */
  readonly EDGE_JOB_DAYS?: string;
}

export interface JobParams {
  readonly job: string;
}

/** Hono's environment type of the edge. */
export interface EdgeEnv {
  Bindings: EdgeBindings;
  Variables: {
    requestId: string;
    /** Set if the edge itself has authorised the request, by a key with the scope or because `EDGE_OPEN` is set. */
    isAuthorized?: true;
    /** The client of an authorised request: the sha-256 of its key, or `open` if there are no keys. */
    client?: string;
  };
}

/** The edge's Hono application. It collects the OpenAPI descriptions of the resources that are mounted on it. */
export type EdgeApp = OpenAPIHono<EdgeEnv>;
