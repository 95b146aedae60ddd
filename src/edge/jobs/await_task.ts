/** Runs one task at a host. */

import { growingDelays } from "../../base/waiting.ts";
import type { Digest } from "../../protocol/digest.ts";
import type { FinishedTask, TaskAnswer, TaskRequest } from "../../protocol/resources/tasks.ts";
import type { WokenHost } from "../hosts/woken_hosts.ts";
import { HostFailedError, TaskRefusedError } from "./host_answer.ts";
import { askHost, cancelTask } from "./host_client.ts";
import type { JobBlobs, JobContext } from "./job_context.ts";

/** The longest time of a task, including the transfer of its tensors. After that, the attempt fails. */
const TASK_MILLISECONDS = 30 * 60_000;

/** The longest time of a task about a block, which may have hundreds of layers. Signed URLs expire after two hours. */
const BLOCK_TASK_MILLISECONDS = 110 * 60_000;

/** The first and the longest pause between two requests for a free host or for the state of a task, in milliseconds. */
export const FIRST_PAUSE = 500, LONGEST_PAUSE = 10_000;

/**
 * Starts the task and asks for its state until it is done. If the job is cancelled, cancels the task and returns undefined.
 * @param position the position in the job of the layer or block to which the task belongs
 * @throws {TaskRefusedError} {HostBusyError} {HostFailedError}
 */
export async function awaitTask(
  host: WokenHost,
  task: TaskRequest,
  position: number,
  { transport, record, hosts, sleep, now }: JobContext,
): Promise<FinishedTask | undefined> {
  const limit = "index" in task ? BLOCK_TASK_MILLISECONDS : TASK_MILLISECONDS, deadline = now() + limit;
  for (const pause of growingDelays(FIRST_PAUSE, LONGEST_PAUSE)) {
    let answer: TaskAnswer;
    try {
      answer = await askHost(transport, host, task);
    } catch (error) {
      // The host registers again with its next heartbeat. Until then it gets no layers.
      if (error instanceof HostFailedError && error.isGone) await hosts.deregister(host.id);
      throw error;
    }
    if (answer.state === "done") return answer;
    if (!await record.isWanted(position)) return void await cancelTask(transport, host, task.id);
    if (now() > deadline) {
      await cancelTask(transport, host, task.id);
      throw new HostFailedError(`host ${host.url}: took more than ${limit / 60_000} minutes`);
    }
    await sleep(pause);
  }
}

/** Returns the signed URL and the digest of a blob. @throws {TaskRefusedError} if the blob does not exist */
export async function signedSource(
  blobs: JobBlobs,
  digest: Digest,
): Promise<{ readonly url: string; readonly sha256: Digest }> {
  const url = await blobs.readUrl(digest);
  if (url === undefined) throw new TaskRefusedError("not_found", `blob ${digest} is not stored`);
  return { url, sha256: digest };
}
