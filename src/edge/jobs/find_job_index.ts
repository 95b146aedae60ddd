/**
 * Finds the list of a client's jobs. A job is a list of layers that the edge (Pare's Cloudflare Worker)
 * solves at GPU hosts.
 */

import { Refusal } from "../../protocol/refusal.ts";
import type { EdgeBindings } from "../bindings.ts";
import type { Remote } from "../runtime/durable_object.ts";
import type { JobIndex } from "./job_index.ts";

/**
 * Returns the Durable Object that has the index of the client's jobs.
 * @throws {Refusal} `unsupported` if the binding JOB_INDEXES is missing
 */
export function findJobIndex(env: EdgeBindings, client: string): Remote<JobIndex> {
  if (!env.JOB_INDEXES) {
    throw new Refusal("unsupported", "this edge runs no jobs, because JOB_INDEXES is not bound");
  }
  return env.JOB_INDEXES.getByName(client);
}
