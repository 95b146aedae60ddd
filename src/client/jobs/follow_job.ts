/**
 * The loop that follows a job, which is a list of layers that a server solves. It asks the server for the job
 * again and again until the job has ended.
 */

import { sleep } from "../../async/abort.ts";
import { hasEnded, type Job, type LayerState } from "../../protocol/answers/jobs.ts";

/** The default of the longest pause between two requests for a job, in milliseconds. */
export const DEFAULT_POLL_MS = 2000;

/** How the loop asks for the job. */
export interface JobPolling {
  /** Requests the current state of the job. */
  readonly nextJob: () => Promise<Job>;
  /** The pauses before each request, in milliseconds. The iterable must be infinite. */
  readonly delays: Iterable<number>;
  readonly signal?: AbortSignal;
}

/**
 * Yields each layer of a job once, as soon as it is done or failed, until the job has ended.
 * @param job the state of the job before the first pause
 * @throws the errors of `nextJob`
 * @throws the signal's reason as soon as the signal is aborted during a pause
 */
export async function* followJob(
  job: Job,
  { nextJob, delays, signal }: JobPolling,
): AsyncGenerator<LayerState, void, void> {
  const reportedNames = new Set<string>();
  for (const delayMs of delays) {
    for (const layer of job.layers) {
      if (!hasEnded(layer.state) || reportedNames.has(layer.name)) continue;
      reportedNames.add(layer.name);
      yield layer;
    }
    if (hasEnded(job.state)) return;
    await sleep(delayMs, signal);
    job = await nextJob();
  }
}
