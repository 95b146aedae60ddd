/** Gives a host the hidden states before a block of a job's model, and deletes them at the end of the job. */

import { messageOf } from "../../base/errors.ts";
import type { WokenHost } from "../hosts/woken_hosts.ts";
import { logFailure } from "../problems.ts";
import { awaitTask, signedSource } from "./await_task.ts";
import { StatesLostError } from "./host_answer.ts";
import { askHost } from "./host_client.ts";
import type { JobContext } from "./job_context.ts";
import type { BlockAttempt } from "./job_record.ts";

/**
 * Calls `work`, which needs the states before the block of the attempt at the host. If the host lacks them, they are
 * created, and `work` is called again, so that it signs new URLs. The first ones may have expired meanwhile.
 * @param taskId the id of the task that needs the states
 * @returns undefined if the job was cancelled meanwhile
 * @throws {TaskRefusedError} {HostBusyError} {HostFailedError}, and the errors of `work`
 */
export async function withStates<T>(
  host: WokenHost,
  taskId: string,
  position: number,
  attempt: BlockAttempt,
  context: JobContext,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StatesLostError)) throw error;
    return await restoreStates(host, taskId, position, attempt, context) ? await work() : undefined;
  }
}

/**
 * Lets the host create the states of the first block, and run them through the blocks before the block of the attempt. These
 * blocks are pruned already, so none of them is solved again.
 * @returns false if the job was cancelled meanwhile
 */
async function restoreStates(
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
