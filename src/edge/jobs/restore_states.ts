/** Gives a host the hidden states before a block of a job's model, and deletes them at the end of the job. */

import { messageOf } from "../../base/errors.ts";
import type { WokenHost } from "../hosts/woken_hosts.ts";
import { logFailure } from "../problems.ts";
import { askHost, awaitTask, signedSource } from "./host_tasks.ts";
import type { JobContext } from "./job_context.ts";
import type { BlockAttempt } from "./job_record.ts";

/**
 * Lets the host create the states of the first block, and run them through the blocks before the block of the attempt. These
 * blocks are pruned already, so none of them is solved again.
 * @param taskId the id of the task that needs the states
 * @returns false if the job was cancelled meanwhile
 * @throws {TaskRefusedError} {HostBusyError} {HostFailedError}
 */
export async function restoreStates(
  host: WokenHost,
  taskId: string,
  position: number,
  { model: { states: windows, target }, pruned }: BlockAttempt,
  context: JobContext,
): Promise<boolean> {
  const { blobs, job: states } = context;
  const creation = { id: `${taskId}.create`, states, windows: await signedSource(blobs, windows), target };
  if (!await awaitTask(host, creation, position, context)) return false;
  for (const [index, { weight, result, parameters }] of pruned.entries()) {
    const task = {
      id: `${taskId}.run.${index}`,
      states,
      index,
      block: await signedSource(blobs, weight),
      pruned: await signedSource(blobs, result),
      parameters,
    };
    if (!await awaitTask(host, task, position, context)) return false;
  }
  return true;
}

/** Deletes the states at the host of the last block that was begun. If that fails, the host evicts them later. */
export async function deleteStates({ job, record, hosts, transport }: JobContext): Promise<void> {
  const last = (await record.read())?.job.layers.findLast(({ host }) => host !== null)?.host;
  const host = (await hosts.aliveHosts()).find(({ id }) => id === last);
  if (!host) return;
  try {
    await askHost(transport, host, { id: `${job}.delete`, states: job });
  } catch (error) {
    logFailure({ job, host: host.id, error: messageOf(error) });
  }
}
