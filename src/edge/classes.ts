/**
 * The classes that `wrangler.toml` names. They extend classes of the module `cloudflare:workers`, which only the
 * Workers runtime has. Plain classes in other files therefore do the work, so that tests can call them.
 */

import { DurableObject, WorkflowEntrypoint } from "cloudflare:workers";
import type { EdgeBindings, JobParams } from "./bindings.ts";
import { HostRegistry } from "./hosts/host_registry.ts";
import { SolverContainer } from "./hosts/solver_container.ts";
import { createJobContext } from "./jobs/job_context.ts";
import { JobIndex } from "./jobs/job_index.ts";
import { JobRecord } from "./jobs/job_record.ts";
import { runJob } from "./jobs/run_job.ts";
import type { DurableObjectState, WorkflowStep } from "./runtime.ts";
import { DAY_MILLISECONDS, solverVariables, wholeNumber, wokenHosts } from "./settings.ts";

const DEFAULT_JOB_DAYS = 7;

/**
 * Returns a Durable Object class that forwards every method of `Methods` to the object that `create` returns. The
 * methods are on the prototype, because the Worker cannot call others.
 */
function durableObject<T extends object>(
  Methods: { readonly prototype: T },
  create: (state: DurableObjectState, env: EdgeBindings) => T,
) {
  class Forwarding extends DurableObject {
    readonly target: T;

    constructor(state: DurableObjectState, env: EdgeBindings) {
      super(state, env);
      this.target = create(state, env);
    }
  }
  for (const name of Object.getOwnPropertyNames(Methods.prototype)) {
    if (name === "constructor") continue;
    Object.defineProperty(Forwarding.prototype, name, {
      value(this: Forwarding, ...args: unknown[]) {
        return (this.target as Record<string, (...args: unknown[]) => unknown>)[name](...args);
      },
    });
  }
  return Forwarding;
}

/** The Durable Object of the binding `HOSTS`. */
export class HostsObject extends durableObject(
  HostRegistry,
  ({ storage }, env) => new HostRegistry(storage.sql, Date.now, () => wokenHosts(env)),
) {}

/** The Durable Object of the binding `SOLVER`, which only a deployment with a container has. */
export class SolverObject extends durableObject(
  SolverContainer,
  (state, env) => new SolverContainer(state, () => solverVariables(env)),
) {}

/** The Durable Object of the binding `JOB_RECORDS`. */
export class JobObject extends durableObject(
  JobRecord,
  (state, env) => new JobRecord(state, () => jobLifetime(env)),
) {}

/** The Durable Object of the binding `JOB_INDEXES`. */
export class JobIndexObject extends durableObject(
  JobIndex,
  ({ storage }, env) => new JobIndex(storage.sql, Date.now, () => jobLifetime(env)),
) {}

/** Returns the lifetime of the records of jobs in milliseconds. @throws {RangeError} if `EDGE_JOB_DAYS` is invalid */
function jobLifetime(env: EdgeBindings): number {
  return wholeNumber(env, "EDGE_JOB_DAYS", DEFAULT_JOB_DAYS, 1) * DAY_MILLISECONDS;
}

/** The Workflow of the binding `JOBS`. */
export class JobWorkflow extends WorkflowEntrypoint {
  constructor(context: unknown, private readonly env: EdgeBindings) {
    super(context, env);
  }

  /** Runs the job that the parameters name. The runtime calls this method. */
  async run({ payload }: { payload: JobParams }, step: WorkflowStep): Promise<void> {
    await runJob(step, createJobContext(this.env, payload.job));
  }
}
