/** The states of a job and of its layers. */

/** The state of a job or of one of its layers. `done`, `failed` and `cancelled` are final. */
export type JobState = "queued" | "running" | "done" | "failed" | "cancelled";

/** All states. `JobState` does not follow from them, because a public type of the SDK may name public types only. */
export const JOB_STATES = ["queued", "running", "done", "failed", "cancelled"] as const satisfies JobState[];

/** Whether `state` is final. */
export function hasEnded(state: JobState): boolean {
  return state === "done" || state === "failed" || state === "cancelled";
}
