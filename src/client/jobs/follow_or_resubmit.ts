/** Follows a job, and submits it again with the same key if it makes no progress. A job that runs is not restarted. */

import { growingDelays } from "../../base/waiting.ts";
import type { Job, LayerState } from "../../protocol/messages.ts";
import type { CallOptions } from "../transport.ts";
import { PareError } from "../errors.ts";
import { DEFAULT_POLL_MS, followJob } from "./follow_job.ts";
import type { JobLayerRequest, JobModelRequest, Jobs } from "./jobs.ts";

/** How often to ask for a job, and when to submit it again. */
export interface PollOptions {
  /** Longest pause between two requests for the job, in milliseconds. The first pauses are shorter. @default 2000 */
  readonly pollMs?: number;
  /** Milliseconds without a change after which the job is submitted again. @default 10000 */
  readonly stallMs?: number;
}

/** Options of {@link followOrResubmit}. */
export interface FollowOrResubmitOptions extends PollOptions, CallOptions {
  /** Whether the edge was unreachable since the last call, and may have restarted. The job is then submitted again. */
  readonly wasUnreachable?: () => boolean;
}

const FIRST_POLL_MS = 100;
const DEFAULT_STALL_MS = 10_000;

/** The request that created a job. */
export interface JobSubmission {
  readonly request: readonly JobLayerRequest[] | JobModelRequest;
  readonly idempotencyKey: string;
  readonly name?: string;
}

/**
 * Yields each layer of `job` once, as soon as its state is final, until the job has ended.
 * @throws {PareError} {ConnectionError} as `Jobs.get` and `Jobs.submit`
 */
export async function* followOrResubmit(
  jobs: Jobs,
  job: Job,
  { request, idempotencyKey, name }: JobSubmission,
  { pollMs = DEFAULT_POLL_MS, stallMs = DEFAULT_STALL_MS, wasUnreachable, signal }: FollowOrResubmitOptions,
): AsyncGenerator<LayerState, void, void> {
  let lastSeenJob = JSON.stringify(job), lastChangeAt = performance.now();
  const nextJob = async () => {
    const mustResubmit = wasUnreachable?.() || performance.now() - lastChangeAt > stallMs;
    const foundJob = mustResubmit ? undefined : await findJob(jobs, job.id, signal);
    job = foundJob ?? await jobs.submit(request, { idempotencyKey, name, signal });
    const currentJob = JSON.stringify(job);
    if (currentJob !== lastSeenJob || mustResubmit) lastChangeAt = performance.now();
    lastSeenJob = currentJob;
    return job;
  };
  yield* followJob(job, { nextJob, delays: growingDelays(FIRST_POLL_MS, pollMs), signal });
}

/** Returns the job, or undefined if the edge does not have it. */
async function findJob(jobs: Jobs, id: string, signal: AbortSignal | undefined): Promise<Job | undefined> {
  try {
    return await jobs.get(id, { signal });
  } catch (error) {
    if (error instanceof PareError && error.status === 404) return undefined;
    throw error;
  }
}
