/** Runs tasks about the hidden states of a model, which live at this host between the tasks of a job. */

import { readRefusal, Refusal, tooLarge } from "../../protocol/refusal.ts";
import type { StatesTask } from "../../protocol/resources/tasks.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import { prunedBody } from "./pruned_body.ts";
import { bodyRequest, type FinishedTask, type TaskContext, uploadResult } from "./task_context.ts";

/**
 * Creates or deletes states, prunes a block, or runs the states through a block that is pruned already.
 * @throws {Refusal} as `runTask`. `states_not_found` means that the states before the block must be created again
 */
export async function runStatesTask(
  task: StatesTask,
  context: TaskContext,
  signal: AbortSignal,
): Promise<FinishedTask> {
  const { states } = task, path = `/v1/states/${states}`, { blobs, host } = context;
  if ("windows" in task) {
    const body = await blobs.open(task.windows, signal);
    return await finish(await host(bodyRequest("PUT", `${path}?target=${task.target}`, body, task, signal)));
  }
  if (!("block" in task)) {
    return await finish(await host(new Request(`http://host${path}`, { method: "DELETE" })));
  }
  const query = searchParamsOf({ ...task.parameters, states, block: task.index });
  const body = "pruned" in task
    ? await runningBody(task, context, signal)
    : await blobs.open(task.block, signal);
  const response = await host(bodyRequest("POST", `/v1/blocks?${query}`, body, task, signal));
  if ("pruned" in task || !response.ok) return await finish(response);
  return await uploadResult(response, task.result.url, context, signal);
}

/** Returns the body that runs the states through a pruned block. */
async function runningBody(
  { states, index, block, pruned, parameters: { format } }: Extract<StatesTask, { pruned: unknown }>,
  { blobs, specOf, maxBodyBytes }: TaskContext,
  signal: AbortSignal,
) {
  const spec = specOf(states);
  if (!spec || index >= spec.blockCount) {
    throw new Refusal("states_not_found", `the states ${states} are not stored, or have no block ${index}`);
  }
  const answer = await blobs.open(pruned, signal);
  if (answer.totalBytes > maxBodyBytes) {
    throw tooLarge(`the pruned block ${index}`, answer.totalBytes, maxBodyBytes);
  }
  const body = await blobs.open(block, signal);
  return await prunedBody(body, answer, { spec, index, isPacked: format === "pack-quantized" });
}

/** @throws {Refusal} if the application has refused the request */
async function finish(response: Response): Promise<FinishedTask> {
  if (!response.ok) throw await readRefusal(response);
  await response.body?.cancel();
  return { state: "done" };
}
