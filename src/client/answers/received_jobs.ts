/** The schemas of the answers of `/v1/jobs`, as the client reads them. */

import * as z from "zod/mini";
import { type Job, JOB_STATES, type JobList, type LayerState } from "../../protocol/answers/jobs.ts";
import { receivedReport } from "./received_report.ts";

const head = {
  id: z.string(),
  name: z.nullable(z.string()),
  state: z.enum(JOB_STATES),
  created: z.string(),
  ended: z.nullable(z.string()),
};

/** Whether a layer has an outcome if its state says so, and only then. */
function hasOutcome({ state, report, result, error }: LayerState): boolean {
  if (state === "done") return report !== null && result !== null && error === null;
  const isSettled = state === "failed" || state === "cancelled";
  return (error !== null) === isSettled;
}

/** The schema of a job with its layers. */
export const receivedJob: z.ZodMiniType<Job> = z.object({
  ...head,
  layers: z.array(
    z.object({
      name: z.string(),
      weight: z.string(),
      hessian: z.nullable(z.string()),
      parameters: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()])),
      state: z.enum(JOB_STATES),
      attempts: z.number(),
      host: z.nullable(z.string()),
      report: z.nullable(receivedReport),
      result: z.nullable(z.string()),
      error: z.nullable(z.object({ code: z.string(), detail: z.string() })),
    }).check(z.refine(hasOutcome)),
  ),
});

/** The schema of a page of jobs. */
export const receivedJobList: z.ZodMiniType<JobList> = z.object({
  jobs: z.array(z.object({
    ...head,
    layers: z.object({
      queued: z.number(),
      running: z.number(),
      done: z.number(),
      failed: z.number(),
      cancelled: z.number(),
    }),
  })),
  cursor: z.nullable(z.string()),
});
