/** The loop that asks for a job until the job has ended. */

import { sleep } from "../../base/waiting.ts";
import { MalformedAnswerError } from "../errors.ts";
import { hasEnded } from "../../protocol/job_state.ts";
import type { Job, LayerState } from "../../protocol/messages.ts";

export const DEFAULT_POLL_MS = 2000;

/** The function that requests the job, and the pauses between its calls. */
export interface JobPolling {
  readonly nextJob: () => Promise<Job>;
  /** The pauses before each request, in milliseconds. The iterable must be infinite. */
  readonly delays: Iterable<number>;
  readonly signal?: AbortSignal;
}

/**
 * Yields each layer of a job once, as soon as its state is final, until the job has ended.
 * @param job the state of the job before the first pause
 * @throws {MalformedAnswerError} if the job gets other layers, or ends without the outcome of a layer
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
    if (hasEnded(job.state)) return requireEnded(job);
    await sleep(delayMs, signal);
    const next = await nextJob();
    requireLayers(next, job.layers);
    job = next;
  }
}

/** Checks that a job has the layers `wanted`, in any order. @throws {MalformedAnswerError} if they differ */
export function requireLayers({ id, layers }: Job, wanted: readonly { readonly name: string }[]): void {
  const names = new Set(layers.map(({ name }) => name));
  if (layers.length === wanted.length && wanted.every(({ name }) => names.has(name))) return;
  throw new MalformedAnswerError(`job ${id}: the edge names other layers than those that were submitted`);
}

/** Checks that every layer of an ended job has an outcome. @throws {MalformedAnswerError} naming one that has none */
function requireEnded({ id, state, layers }: Job): void {
  const open = layers.find((layer) => !hasEnded(layer.state));
  if (open) {
    throw new MalformedAnswerError(`job ${id}: is ${state}, but its layer ${open.name} is ${open.state}`);
  }
}
