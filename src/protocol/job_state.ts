/** The states of a job and of its layers. */

export const JOB_STATES = ["queued", "running", "done", "failed", "cancelled"] as const;

/** The state of a job or of one of its layers. `done`, `failed` and `cancelled` are final. */
export type JobState = (typeof JOB_STATES)[number];

/** Whether `state` is final. */
export function hasEnded(state: JobState): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}
