/**
 * The types of Workflows. A Workflow is a function of steps that the runtime runs to its end, even if the Worker is restarted meanwhile.
 */

/** One run of a Workflow. */
export interface WorkflowInstance {
  readonly id: string;
  /** Returns the status, which is "queued" until the run starts. */
  status(): Promise<{ readonly status: string }>;
  /** Restarts the run from the beginning. */
  restart(): Promise<void>;
}

/** The instances of one Workflow. */
export interface Workflow<Params> {
  /** Creates an instance, which starts to run. @throws if the id exists already */
  create(options: { id: string; params: Params }): Promise<{ readonly id: string }>;
  /** Returns an instance. @throws if there is none with this id */
  get(id: string): Promise<WorkflowInstance>;
}

/** The retries and the timeout of a step. */
export interface StepConfig {
  readonly retries: { readonly limit: number; readonly delay: string; readonly backoff: "exponential" };
  readonly timeout: string;
}

/** The steps of a run. When a run is resumed, finished steps are not repeated, because their results are stored. */
export interface WorkflowStep {
  do(name: string, config: StepConfig, run: () => Promise<void>): Promise<void>;
}
