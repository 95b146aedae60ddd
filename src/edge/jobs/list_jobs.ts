/**
 * Lists the jobs of one client. A job is a list of layers that the edge (Pare's Cloudflare Worker) solves at
 * GPU hosts. Before a page is read from the client's list, the summaries of the unfinished jobs are renewed
 * from their records.
 */

import pMap from "p-map";
import type { JobList } from "../../protocol/messages.ts";
import type { JobListQuery } from "../../protocol/resources/jobs.ts";
import type { EdgeBindings } from "../bindings.ts";
import { findJob } from "./find_job.ts";
import { findJobIndex } from "./find_job_index.ts";

/** The number of records that are asked for their summaries at once. */
const MAX_CONCURRENT_RECORDS = 32;

/** Returns a page of a client's jobs, with their current states. @throws {Refusal} `unsupported` if a binding is missing */
export async function listJobs(env: EdgeBindings, client: string, query: JobListQuery): Promise<JobList> {
  const index = findJobIndex(env, client), ids = await index.unfinished();
  const summaries = await pMap(ids, (id) => findJob(env, id).summary(), {
    concurrency: MAX_CONCURRENT_RECORDS,
  });
  await index.put(summaries.filter((summary) => summary !== undefined));
  await index.remove(ids.filter((_, position) => summaries[position] === undefined));
  return await index.page(query);
}
