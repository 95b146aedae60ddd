/**
 * The types of the answers of `/v1/jobs`, for code that reads them. Servers describe these answers by the schemas in `../edge/jobs.ts`. A test
 * fails if the types and the schemas have different names or types.
 */

import type { Digest } from "../digest.ts";
import type { Report } from "./report.ts";

/** The states of a job and of its layers. The last three are final. */
export const JOB_STATES = ["queued", "running", "done", "failed", "cancelled"] as const;

/** The state of a job or of one of its layers. `done`, `failed` and `cancelled` are final. */
export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

/** Whether `state` is final. */
export function hasEnded(state: JobState): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}

/** The reason why a layer has no result. */
export interface JobError {
  /** An error code of the HTTP API, or `cancelled`. */
  readonly code: string;
  /** A description for people. */
  readonly detail: string;
}

/** The state of one layer of a job, and what was asked for. */
export interface LayerState {
  /** The name of the layer, unique in the job. */
  readonly name: string;
  /** The digest of the blob with the weight. */
  readonly weight: Digest;
  /** The digest of the blob with the statistics. Null if the blob of the weight has them. */
  readonly hessian: Digest | null;
  /** The parameters that the job gives, with the defaults of those that it does not give. */
  readonly parameters: Readonly<Record<string, string | number | boolean>>;
  /** The state of the layer. */
  readonly state: JobState;
  /** The number of times that a host was asked to solve the layer. */
  readonly attempts: number;
  /** The id of the host of the latest attempt. Null before the first attempt. */
  readonly host: string | null;
  /** The report of the layer. Null unless the state is `done`. */
  readonly report: Report | null;
  /** The digest of the answer, a blob with the pruned weight. Null unless the state is `done`. */
  readonly result: Digest | null;
  /** The reason why the layer has no result. Null unless the state is `failed` or `cancelled`. */
  readonly error: JobError | null;
}

/** The members that a job and its entry in the list of jobs have in common. */
export interface JobHead {
  /** The id of the job. */
  readonly id: string;
  /** The name that the client gave, for people. It need not be unique. */
  readonly name: string | null;
  /** The state of the job. */
  readonly state: JobState;
  /** The time of the submission, in ISO 8601. */
  readonly created: string;
  /** The time at which the job ended, in ISO 8601. Null until then. */
  readonly ended: string | null;
}

/** A job and the states of its layers. */
export interface Job extends JobHead {
  /** The layers, in the order of the submission. */
  readonly layers: LayerState[];
}

/** A job without its layers. */
export interface JobSummary extends JobHead {
  /** The number of layers in each state. */
  readonly layers: Readonly<Record<JobState, number>>;
}

/** A page of the list of jobs. */
export interface JobList {
  /** The jobs of this page, the newest first. */
  readonly jobs: JobSummary[];
  /** The cursor of the next page. Null on the last page. */
  readonly cursor: string | null;
}
