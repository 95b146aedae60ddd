/** The states of a job and of its layers. */

/** The states. The last three are final. */
export const JOB_STATES = ["queued", "running", "done", "failed", "cancelled"] as const;

/** The state of a job or of one of its layers. `done`, `failed` and `cancelled` are final. */
export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

/** Whether `state` is final. */
export function hasEnded(state: JobState): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}
