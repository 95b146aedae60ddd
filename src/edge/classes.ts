/**
 * The classes that `wrangler.toml` names: Durable Objects and the Workflow. Here is only what ties them to the runtime, which alone
 * has the module that they extend; what they do is in `hosts/` and `jobs/`.
 */

import { DurableObject, WorkflowEntrypoint } from "cloudflare:workers";
import type { EdgeBindings } from "./bindings.ts";
import type { DurableObjectState } from "./hosts/durable_object.ts";
import { hostsMethods } from "./hosts/hosts_object.ts";
import type { HostsMethods } from "./hosts/hosts_methods.ts";
import { jobMethods } from "./jobs/job_object.ts";
import type { JobMethods } from "./jobs/job_methods.ts";
import { runJob } from "./jobs/run_job.ts";
import { jobTools } from "./jobs/tools.ts";
import type { JobParams, WorkflowStep } from "./jobs/workflow_types.ts";

/** Binding `HOSTS`. */
export class HostsObject extends DurableObject implements HostsMethods {
  readonly #methods: HostsMethods;

  constructor(state: DurableObjectState, env: EdgeBindings) {
    super(state, env);
    this.#methods = hostsMethods(state);
  }

  beat(...args: Parameters<HostsMethods["beat"]>) {
    return this.#methods.beat(...args);
  }
  leave(...args: Parameters<HostsMethods["leave"]>) {
    return this.#methods.leave(...args);
  }
  alive() {
    return this.#methods.alive();
  }
  choose(...args: Parameters<HostsMethods["choose"]>) {
    return this.#methods.choose(...args);
  }
  release(...args: Parameters<HostsMethods["release"]>) {
    return this.#methods.release(...args);
  }
  take(...args: Parameters<HostsMethods["take"]>) {
    return this.#methods.take(...args);
  }
}

/** Binding `JOB_RECORDS`. */
export class JobObject extends DurableObject implements JobMethods {
  readonly #methods: JobMethods;
  readonly #storage: DurableObjectState["storage"];

  constructor(state: DurableObjectState, env: EdgeBindings) {
    super(state, env);
    this.#storage = state.storage;
    this.#methods = jobMethods(state, env);
  }

  create(...args: Parameters<JobMethods["create"]>) {
    return this.#methods.create(...args);
  }
  read() {
    return this.#methods.read();
  }
  changesAfter(...args: Parameters<JobMethods["changesAfter"]>) {
    return this.#methods.changesAfter(...args);
  }
  size() {
    return this.#methods.size();
  }
  begin(...args: Parameters<JobMethods["begin"]>) {
    return this.#methods.begin(...args);
  }
  wanted(...args: Parameters<JobMethods["wanted"]>) {
    return this.#methods.wanted(...args);
  }
  settle(...args: Parameters<JobMethods["settle"]>) {
    return this.#methods.settle(...args);
  }
  cancel() {
    return this.#methods.cancel();
  }
  silence() {
    return this.#methods.silence();
  }
  /** The runtime calls it when the job's days are over. */
  async alarm(): Promise<void> {
    await this.#storage.deleteAll();
  }
}

/** Binding `JOBS`. */
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
