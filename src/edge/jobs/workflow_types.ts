/** The types of Workflows, limited to the members that the edge uses (`../runtime.ts` says why). */

/** The parameters of a Workflow. */
export interface JobParams {
  /** The id of the job, which is also that of the Workflow instance. */
  readonly job: string;
}

/** One run of a Workflow. */
export interface WorkflowInstance {
  readonly id: string;
  /** Returns the status, which is "queued" before the run has started. */
  status(): Promise<{ readonly status: string }>;
  /** Restarts the run from the beginning. */
  restart(): Promise<void>;
}

/** The instances of one Workflow. */
export interface Workflow {
  /** Creates an instance. @throws if the id exists already */
  create(options: { id: string; params: JobParams }): Promise<{ readonly id: string }>;
  /** Returns an instance. @throws if there is none */
  get(id: string): Promise<WorkflowInstance>;
}

/** The retries and the timeout of a step. */
export interface StepConfig {
  readonly retries: { readonly limit: number; readonly delay: string; readonly backoff: "exponential" };
  readonly timeout: string;
}

/** The steps of a run. When a run is resumed, finished steps do not run again, because their results are stored. */
export interface WorkflowStep {
  do(name: string, config: StepConfig, run: () => Promise<void>): Promise<void>;
}
