/** The settings of a deployment: numeric variables, Durable Objects, hosts, and the limits of small layers. */

import type { EdgeBindings } from "./bindings.ts";
import { requireBucketVariable } from "./blobs/signed_urls.ts";
import type { HostRegistry } from "./hosts/host_registry.ts";
import { SOLVER_HOST, SOLVER_PORT } from "./hosts/solver_container.ts";
import { parseWokenHosts, type WokenHost } from "./hosts/woken_hosts.ts";
import type { JobIndex } from "./jobs/job_index.ts";
import type { JobRecord } from "./jobs/job_record.ts";
import type { Remote } from "./runtime.ts";
import { Refusal } from "../protocol/refusal.ts";

/** The largest number of rows or columns of a small layer. A solve of 1024 × 1024 takes a fraction of a second. */
export const MAX_SMALL_FEATURES = 1024;

/** The largest sum of bodies in memory, in bytes. A Worker has 128 MB, and a solve needs as much memory as its body. */
export const MAX_SMALL_BYTES_IN_FLIGHT = 32 * 2 ** 20;

/** The largest body of a small layer in bytes. A 1024 × 1024 layer with its Hessian takes 9 MiB, and `inputs` more. */
export const MAX_SMALL_BYTES = 16 * 2 ** 20;

export const DAY_MILLISECONDS = 86_400_000;

type NumericVariable =
  | "EDGE_BODY_LIMIT"
  | "EDGE_PART_BYTES"
  | "EDGE_BLOB_DAYS"
  | "EDGE_JOB_DAYS"
  | "EDGE_JOB_SILENCE"
  | "EDGE_HOST_TIMEOUT"
  | "EDGE_HOST_WAIT";

/**
 * Returns the variable `name` as a whole number, or `fallback` if it is not set.
 * @throws {RangeError} if the value is not a whole number of at least `minimum`. A default would hide the mistake
 */
export function wholeNumber(
  env: EdgeBindings,
  name: NumericVariable,
  fallback: number,
  minimum: number,
): number {
  const text = env[name];
  const value = text ? Number(text) : fallback;
  if (Number.isSafeInteger(value) && value >= minimum) return value;
  throw new RangeError(`${name}: must be a whole number of at least ${minimum}, got "${text}"`);
}

/** Returns `EDGE_HOST_SECRET`. @throws {Refusal} `unsupported` if it is not set */
export function requireHostSecret(env: EdgeBindings): string {
  if (!env.EDGE_HOST_SECRET) {
    throw new Refusal("unsupported", "this edge cannot work with hosts, because EDGE_HOST_SECRET is not set");
  }
  return env.EDGE_HOST_SECRET;
}

/** Returns the registry of hosts of the whole deployment. @throws {Refusal} `unsupported` without the binding HOSTS */
export function findRegistry({ HOSTS }: EdgeBindings): Remote<HostRegistry> {
  return requireBound(HOSTS, "has no registry of hosts, because HOSTS").getByName("hosts");
}

/** Returns the record of a job, which may be empty. @throws {Refusal} `unsupported` without the binding JOB_RECORDS */
export function findJob({ JOB_RECORDS }: EdgeBindings, id: string): Remote<JobRecord> {
  return requireBound(JOB_RECORDS, "runs no jobs, because JOB_RECORDS").getByName(id);
}

/** Returns the list of a client's jobs. @throws {Refusal} `unsupported` without the binding JOB_INDEXES */
export function findJobIndex({ JOB_INDEXES }: EdgeBindings, client: string): Remote<JobIndex> {
  return requireBound(JOB_INDEXES, "runs no jobs, because JOB_INDEXES").getByName(client);
}

function requireBound<T>(binding: T | undefined, lack: string): T {
  if (binding === undefined) throw new Refusal("unsupported", `this edge ${lack} is not bound`);
  return binding;
}

/** Returns the hosts that are woken by a request. @throws {RangeError} if `EDGE_WOKEN_HOSTS` is malformed */
export function wokenHosts({ EDGE_WOKEN_HOSTS = "", SOLVER }: EdgeBindings): WokenHost[] {
  return [...parseWokenHosts(EDGE_WOKEN_HOSTS), ...SOLVER ? [SOLVER_HOST] : []];
}

/**
 * Returns the environment variables of the solver. No key has the digest in `PARE_KEYS`, so only the edge can use the
 * solver.
 * @throws {Refusal} `unsupported`, naming the variable that is not set
 */
export function solverVariables(env: EdgeBindings): Record<string, string> {
  return {
    PORT: String(SOLVER_PORT),
    PARE_BACKEND: "cpu",
    PARE_KEYS: crypto.getRandomValues(new Uint8Array(32)).toHex(),
    PARE_HOST_ID: SOLVER_HOST.id,
    PARE_BLOB_ORIGINS: new URL(requireBucketVariable(env, "BLOBS_S3_URL")).origin,
    EDGE_HOST_SECRET: requireHostSecret(env),
  };
}
