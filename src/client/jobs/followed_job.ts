/**
 * A job that is seen through: followed to its end over restarts of the edge, and submitted again under its key when nothing comes of
 * it, which starts it where it is not running and is harmless where it is.
 */

import type { Job, LayerState } from "../../protocol/jobs.ts";
import { sleep } from "../../async/abort.ts";
import type { CallOptions } from "../call_options.ts";
import { PareError } from "../errors.ts";
import type { JobLayerRequest, Jobs } from "./jobs.ts";

/** How patiently. */
export interface JobPatience {
  /** Longest wait between questions, in milliseconds. The first are sooner. */
  readonly pollMs?: number;
  /** Time without a change after which the job is submitted again, in milliseconds. */
  readonly stallMs?: number;
}

/** How a job is followed. */
export interface FollowJobOptions extends JobPatience, CallOptions {
  /** Whether the edge could not be reached since this was last asked: it may have been restarted, so the job is submitted again at once. */
  readonly wasUnreachable?: () => boolean;
}

const DEFAULT_POLL_MS = 2000, FIRST_POLL_MS = 100;
const DEFAULT_STALL_MS = 10_000;

/** A submission. */
export interface Submission {
  readonly layers: readonly JobLayerRequest[];
  readonly idempotencyKey: string;
}

/**
 * Each layer of `job`, once, as it is done or failed, until all are.
 * @param submission what `job` answers to
 * @throws {PareError} {ConnectionError} as `Jobs`, after the retries
 */
export async function* followJob(
  jobs: Jobs,
  job: Job,
  { layers, idempotencyKey }: Submission,
  { pollMs = DEFAULT_POLL_MS, stallMs = DEFAULT_STALL_MS, wasUnreachable, signal }: FollowJobOptions,
): AsyncGenerator<LayerState, void, void> {
  const told = new Set<string>();
  let seen = JSON.stringify(job), changed = performance.now();
  for (let pause = Math.min(FIRST_POLL_MS, pollMs);; pause = Math.min(1.5 * pause, pollMs)) {
    for (const layer of job.layers) {
      if ((layer.state !== "done" && layer.state !== "failed") || told.has(layer.name)) continue;
      told.add(layer.name);
      yield layer;
    }
    if (job.state === "done" || job.state === "failed") return;
    await sleep(pause, signal);
    const isStalled = wasUnreachable?.() || performance.now() - changed > stallMs;
    const known = isStalled ? undefined : await find(jobs, job.id, signal);
    job = known ?? await jobs.submit(layers, { idempotencyKey, signal });
    const now = JSON.stringify(job);
    if (now !== seen || isStalled) changed = performance.now();
    seen = now;
  }
}

/** The job; undefined where the edge knows of none. */
async function find(jobs: Jobs, id: string, signal: AbortSignal | undefined): Promise<Job | undefined> {
  try {
    return await jobs.get(id, { signal });
  } catch (error) {
    if (error instanceof PareError && error.status === 404) return undefined;
    throw error;
  }
}
