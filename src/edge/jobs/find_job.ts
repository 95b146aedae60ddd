/**
 * Finds the record of a job, which is a list of layers that the edge (Pare's Cloudflare Worker) solves at GPU
 * hosts.
 */

import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { Remote } from "../runtime/durable_object.ts";
import type { ObservedJob } from "./observed_job.ts";

/**
 * Returns the Durable Object that holds the record of the job. If there is no such job, the record is empty.
 * @throws {Refusal} `unsupported` if the binding JOB_RECORDS is missing
 */
export function findJob(env: EdgeBindings, id: string): Remote<ObservedJob> {
  if (!env.JOB_RECORDS) {
    throw new Refusal("unsupported", "this edge runs no jobs, because JOB_RECORDS is not bound");
  }
  return env.JOB_RECORDS.getByName(id);
}
