/** Workflows as the edge uses them: the members that are called, and no more (`../runtime.ts` says why). */

/** What a Workflow is started with. */
export interface JobParams {
  /** The job's id, which is the instance's as well. */
  readonly job: string;
}

/** One run of a Workflow. */
export interface WorkflowInstance {
  readonly id: string;
  /** `status` is "queued" where it has not begun, for others before it. */
  status(): Promise<{ readonly status: string }>;
  /** Runs it from the beginning, whatever it did. */
  restart(): Promise<void>;
}

/** The instances of one Workflow. */
export interface Workflow {
  /** @throws where the id is taken */
  create(options: { id: string; params: JobParams }): Promise<{ readonly id: string }>;
  /** @throws where there is none */
  get(id: string): Promise<WorkflowInstance>;
}

/** How often, and how long, a step is tried. */
export interface StepConfig {
  readonly retries: { readonly limit: number; readonly delay: string; readonly backoff: "exponential" };
  readonly timeout: string;
}

/** The steps of a run. A step that has ended is not run again when the run is resumed: its result is remembered. */
export interface WorkflowStep {
  do(name: string, config: StepConfig, run: () => Promise<void>): Promise<void>;
}
