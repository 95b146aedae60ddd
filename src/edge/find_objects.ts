/** Finds the Durable Objects of the deployment: the registry of hosts, the records of jobs, and the lists of clients' jobs. */

import type { EdgeBindings } from "./bindings.ts";
import type { HostRegistry } from "./hosts/host_registry.ts";
import type { JobIndex } from "./jobs/job_index.ts";
import type { ObservedJob } from "./jobs/observed_job.ts";
import type { Remote } from "./runtime.ts";
import { Refusal } from "../protocol/refusal.ts";

/** Returns the registry of hosts, which is one object for the whole deployment. @throws {Refusal} `unsupported` without the binding HOSTS */
export function findRegistry({ HOSTS }: EdgeBindings): Remote<HostRegistry> {
  return requireBound(HOSTS, "has no registry of hosts, because HOSTS").getByName("hosts");
}

/** Returns the record of a job, which is empty if there is no such job. @throws {Refusal} `unsupported` without the binding JOB_RECORDS */
export function findJob({ JOB_RECORDS }: EdgeBindings, id: string): Remote<ObservedJob> {
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
