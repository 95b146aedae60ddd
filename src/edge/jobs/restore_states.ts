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
 * Returns the name of the states of one of `count` shares of the windows, or of all windows if `share` is `count`. If `count`
 * is 0, the job is not divided. An attempt that was interrupted may have left the states of another division at a host,
 * which must not be taken for those of this one.
 */
export function statesName(job: string, share: number, count: number): string {
  return count === 0 ? job : `${job}.${share}.${count}`;
}

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
  share: number,
  context: JobContext,
  work: () => Promise<T>,
): Promise<T | undefined> {
  try {
    return await work();
  } catch (error) {
    if (!(error instanceof StatesLostError)) throw error;
    return await restoreStates(host, taskId, position, attempt, share, context) ? await work() : undefined;
  }
}

/**
 * Lets the host create the states of the first block, and run them through the blocks before the one of the attempt. These
 * blocks are pruned already, so none of them is solved again.
 * @returns false if the job was cancelled meanwhile
 */
async function restoreStates(
  host: WokenHost,
  taskId: string,
  position: number,
  { model: { states: windows, target }, pruned, shares: count }: BlockAttempt,
  share: number,
  context: JobContext,
): Promise<boolean> {
  const { blobs, job } = context, states = statesName(job, share, count);
  const run = async (index: number) => {
    const { weight, result, parameters } = pruned[index];
    const task = {
      id: `${taskId}.run.${index}`,
      states,
      index,
      block: await signedSource(blobs, weight),
      pruned: await signedSource(blobs, result),
      parameters,
    };
    return await awaitTask(host, task, position, context) !== undefined;
  };
  // In a divided job, only the states of the last share have run through the block before.
  if (count > 0 && pruned.length > 0) {
    try {
      return await run(pruned.length - 1);
    } catch (error) {
      if (!(error instanceof StatesLostError)) throw error;
    }
  }
  const creation = {
    id: `${taskId}.create`,
    states,
    windows: await signedSource(blobs, windows),
    target,
    ...share < count && { share: { index: share, count } },
  };
  if (!await awaitTask(host, creation, position, context)) return false;
  for (const index of pruned.keys()) if (!await run(index)) return false;
  return true;
}

/** Deletes the states at the hosts of the last block that was begun. */
export async function deleteStates(context: JobContext): Promise<void> {
  const { job, record, hosts } = context;
  const shares = await record.shares(), alive = await hosts.aliveHosts();
  const last = (await record.read())?.job.layers.findLast(({ host }) => host !== null)?.host ?? undefined;
  const ids = shares.length > 0 ? shares.map(({ host }) => host) : [last];
  // The states of all windows are at the host of the first share, if blocks were trained.
  const isTrained = shares.length > 0 && await record.isTrained();
  for (const [share, id] of (isTrained ? [...ids, ids[0]] : ids).entries()) {
    const host = alive.find((host) => host.id === id);
    if (host) await deleteAt(host, statesName(job, share, shares.length), `${job}.delete.${share}`, context);
  }
}

/** Deletes states at a host. If that fails, the host evicts them later. */
export async function deleteAt(
  host: WokenHost,
  states: string,
  taskId: string,
  { job, transport }: JobContext,
): Promise<void> {
  try {
    await askHost(transport, host, { id: taskId, states });
  } catch (error) {
    logFailure({ job, host: host.id, error: messageOf(error) });
  }
}
