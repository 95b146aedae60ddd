/** Reserves a host for a task, and waits until a host is awake and has a free place. */

import { growingDelays } from "../../base/waiting.ts";
import type { ChosenHost } from "../hosts/host_registry.ts";
import { logFailure } from "../problems.ts";
import { FIRST_PAUSE, LONGEST_PAUSE } from "./await_task.ts";
import { HostBusyError } from "./host_answer.ts";
import type { JobContext } from "./job_context.ts";

/** No host was alive or woke up in time. The message names no address. */
export class NoHostError extends Error {
  override name = "NoHostError";
}

/**
 * Calls `work` with a reserved host, again if the host is busy.
 * @param position the position in the job of the layer or block
 * @param choose reserves a host. It gets the id of a host that is starting, if there is one
 * @returns the result of `work`, or undefined if the layer is not wanted any more
 * @throws {NoHostError} {HostBusyError} after `hostWaitMilliseconds`, and the errors of `work`
 */
export async function atHost<T>(
  taskId: string,
  position: number,
  choose: (asleep: string | undefined) => Promise<ChosenHost | undefined>,
  work: (host: ChosenHost) => Promise<T>,
  context: JobContext,
): Promise<T | undefined> {
  const { record, hosts, hostWaitMilliseconds } = context, deadline = context.now() + hostWaitMilliseconds;
  let asleep: string | undefined, busyError: HostBusyError | undefined;
  try {
    for (const pause of growingDelays(FIRST_PAUSE, LONGEST_PAUSE)) {
      const host = await choose(asleep);
      const sleepReason = host?.mayBeAsleep ? await context.findSleepReason(host) : undefined;
      if (host && sleepReason === undefined) {
        try {
          return await work(host);
        } catch (error) {
          if (!(error instanceof HostBusyError)) throw error;
          busyError = error;
          // A host that was starting may be ready by now.
          asleep = undefined;
        }
      } else {
        // While this host starts, another one may be awake.
        asleep = host?.id ?? asleep;
      }
      if (context.now() > deadline) throw busyError ?? noHost(host, sleepReason, position, context);
      if (!await record.isWanted(position)) return undefined;
      await context.sleep(pause);
    }
  } finally {
    await hosts.release(taskId);
  }
}

/** Returns the error. The reason is in the log, because it may name an address. */
function noHost(
  host: ChosenHost | undefined,
  sleepReason: string | undefined,
  position: number,
  { job, hostWaitMilliseconds }: JobContext,
): NoHostError {
  const seconds = hostWaitMilliseconds / 1000;
  if (host) logFailure({ job, layer: position, host: host.url, error: sleepReason });
  return new NoHostError(
    host ? `host ${host.id} did not start within ${seconds} s` : `no GPU host was alive for ${seconds} s`,
  );
}
