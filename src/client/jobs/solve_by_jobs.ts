/** Solves layers or blocks by jobs: follows a job to its end, and submits what has failed in another job. */

import { growingDelays } from "../../base/waiting.ts";
import { hasEnded } from "../../protocol/job_state.ts";
import type { Job, LayerState } from "../../protocol/messages.ts";
import type { CallOptions } from "../transport.ts";
import { digestOfBytes } from "../digests.ts";
import { MalformedAnswerError, PareError } from "../errors.ts";
import { DEFAULT_POLL_MS, followJob } from "./follow_job.ts";
import type { JobLayerRequest, JobModelRequest, Jobs } from "./jobs.ts";
import { JobFailedError, type LayerFailure } from "./prune_by_job.ts";

/** How often to ask for a job, and when to submit it again. */
export interface PollOptions {
  /** Longest pause between two requests for the job, in milliseconds. The first pauses are shorter. @default 2000 */
  readonly pollMs?: number;
  /** Milliseconds without a change after which the job is submitted again. @default 10000 */
  readonly stallMs?: number;
}

/** Options of {@link solveByJobs}. */
export interface SolveByJobsOptions extends PollOptions, CallOptions {
  /** A name of the jobs for people. */
  readonly name?: string;
  /** Called for each layer or block that took several attempts, for example because a host was lost. */
  readonly onRetried?: (name: string, attempts: number) => void;
  /** Whether the edge was unreachable since the last call, and may have restarted. The job is then submitted again. */
  readonly wasUnreachable?: () => boolean;
}

/** The layers or blocks that jobs solve, and how their results are taken. */
export interface JobItems<Result> {
  /** Returns the request for the items that are not solved yet, or undefined if there are none. */
  request(): readonly JobLayerRequest[] | JobModelRequest | undefined;
  /**
   * Downloads the result of an item.
   * @param isOld whether the job had ended when it was submitted, so that the edge may have deleted its results
   * @returns the results to yield, or undefined if the edge has deleted the result
   * @throws {MalformedAnswerError} if the result is wrong
   */
  take(item: LayerState, isOld: boolean): Promise<readonly Result[] | undefined>;
  /** Whether each item depends on those before it. After a wrong or deleted result, the rest of the job is not used. */
  readonly isSequence?: boolean;
}

const FIRST_POLL_MS = 100;
const DEFAULT_STALL_MS = 10_000;

/** The number of jobs over the same items that may fail transiently, or give a wrong result, before the failure is thrown. */
const MAX_FAILED_JOBS = 2;

/** The number of failed jobs of earlier processes that are passed over. An edge that invents more of them is not followed. */
const MAX_EARLIER_JOBS = 100;

/**
 * Yields the results of all items. The key of a job is computed from its request, so a restarted client finds its job again.
 * @throws {JobFailedError} if an item is refused, or if items fail transiently in several jobs
 * @throws {MalformedAnswerError} if the results of several jobs are wrong
 * @throws {PareError} {ConnectionError} as `Jobs.get`, `Jobs.submit` and `take`
 */
export async function* solveByJobs<Result>(
  jobs: Jobs,
  items: JobItems<Result>,
  options: SolveByJobsOptions,
): AsyncGenerator<Result, void, void> {
  const { name, onRetried, signal } = options;
  for (let submission = 0, failedJobs = 0;; submission++) {
    const request = items.request();
    if (!request) return;
    const digest = await digestOfBytes(new TextEncoder().encode(JSON.stringify({ name, request })));
    const submit = () => jobs.submit(request, { idempotencyKey: `${digest}/${submission}`, name, signal });
    const job = await submit();
    // An earlier process submitted a job that has ended already, so the cause of its failures may be gone.
    const isOld = hasEnded(job.state), failures: LayerFailure[] = [];
    let wrongAnswer: MalformedAnswerError | undefined;
    for await (const item of followOrResubmit(jobs, job, submit, options)) {
      if (item.error) {
        failures.push({ name: item.name, ...item.error });
        continue;
      }
      let results: readonly Result[] | undefined;
      try {
        results = await items.take(item, isOld);
      } catch (error) {
        if (!(error instanceof MalformedAnswerError)) throw error;
        wrongAnswer = error;
      }
      if (results) {
        if (item.attempts > 1) onRetried?.(item.name, item.attempts);
        yield* results;
      } else if (items.isSequence) {
        if (wrongAnswer) await jobs.cancel(job.id, { signal });
        break;
      }
    }
    if (!wrongAnswer && (failures.length === 0 || isOld && submission < MAX_EARLIER_JOBS)) continue;
    const error = wrongAnswer ?? new JobFailedError(job.id, failures);
    if (error instanceof JobFailedError && !error.isTransient || ++failedJobs > MAX_FAILED_JOBS) throw error;
  }
}

/**
 * Yields each layer of `job` once, as soon as its state is final, until the job has ended. If the job makes no progress, submits
 * it again with the same key. A job that runs is not restarted.
 */
async function* followOrResubmit(
  jobs: Jobs,
  job: Job,
  submit: () => Promise<Job>,
  { pollMs = DEFAULT_POLL_MS, stallMs = DEFAULT_STALL_MS, wasUnreachable, signal }: SolveByJobsOptions,
): AsyncGenerator<LayerState, void, void> {
  let lastSeenJob = JSON.stringify(job), lastChangeAt = performance.now();
  const nextJob = async () => {
    const mustResubmit = wasUnreachable?.() || performance.now() - lastChangeAt > stallMs;
    const foundJob = mustResubmit ? undefined : await findJob(jobs, job.id, signal);
    job = foundJob ?? await submit();
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
