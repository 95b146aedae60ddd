/**
 * The classes that `wrangler.toml` names: the Durable Objects and the Workflow. Only the Workers runtime has the module that they extend,
 * so the code of the methods is elsewhere, in `hosts/` and `jobs/`.
 */

import { DurableObject, WorkflowEntrypoint } from "cloudflare:workers";
import type { EdgeBindings } from "./bindings.ts";
import type { DurableObjectState } from "./durable_objects/durable_object.ts";
import { HostRegistry } from "./hosts/registry.ts";
import { ObservedJob } from "./jobs/observed_job.ts";
import { runJob } from "./jobs/run_job.ts";
import { jobTools } from "./jobs/tools.ts";
import type { JobParams, WorkflowStep } from "./jobs/workflow_types.ts";
import { wholeNumber } from "./settings.ts";

const DEFAULT_JOB_DAYS = 7;

type Create<T> = (state: DurableObjectState, env: EdgeBindings) => T;

/**
 * Makes a Durable Object class that forwards the methods of `Target` to an instance from `create`. The runtime lets other Workers call
 * methods of the class's prototype only, so each method is defined there.
 */
function durableObject<T extends object>(Target: { readonly prototype: T }, create: Create<T>) {
  class Forwarding extends DurableObject {
    readonly target: T;

    constructor(state: DurableObjectState, env: EdgeBindings) {
      super(state, env);
      this.target = create(state, env);
    }
  }
  for (const name of Object.getOwnPropertyNames(Target.prototype)) {
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
  ({ storage }) => new HostRegistry(storage.sql, Date.now),
) {}

/** The Durable Object of the binding `JOB_RECORDS`. */
export class JobObject extends durableObject(
  ObservedJob,
  (state, env) => new ObservedJob(state, () => wholeNumber(env, "EDGE_JOB_DAYS", DEFAULT_JOB_DAYS, 1)),
) {}

/** The Workflow of the binding `JOBS`. */
export class JobWorkflow extends WorkflowEntrypoint {
  readonly #env: EdgeBindings;

  constructor(context: unknown, env: EdgeBindings) {
    super(context, env);
    this.#env = env;
  }

  async run({ payload }: { payload: JobParams }, step: WorkflowStep): Promise<void> {
    await runJob(step, jobTools(this.#env, payload.job));
  }
}
