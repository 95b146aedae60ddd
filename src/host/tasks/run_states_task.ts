/** Runs tasks about the hidden states of a model, which live at this host between the tasks of a job. */

import { codedFormat } from "../../model/formats/formats.ts";
import { readRefusal } from "../../protocol/refusal.ts";
import type { FinishedTask, RunTask, StatesTask } from "../../protocol/resources/tasks.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import { TASK_OWNER } from "../blocks/states.ts";
import { statesNotFound } from "../blocks/states_store.ts";
import { prunedBody, readAnswer } from "./pruned_body.ts";
import { bodyRequest, type TaskContext, uploadResult } from "./task_context.ts";

/**
 * Creates or deletes states, prunes a block, or runs the states through a block that is pruned already.
 * @throws {Refusal} as `runTask`
 * @throws {Refusal} `states_not_found` if the states before the block must be created again
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
  if ("pruned" in task) return await runPruned(task, context, signal);
  const query = searchParamsOf({ ...task.parameters, states, block: task.index });
  const block = await blobs.open(task.block, signal);
  const response = await host(bodyRequest("POST", `/v1/blocks/prune?${query}`, block, task, signal));
  return response.ok
    ? await uploadResult(response, task.result.url, context, signal)
    : await finish(response);
}

/**
 * Posts the body that runs the states through a pruned block. Meanwhile the result of this block is in memory, and so are its
 * tensors in the form of the checkpoint.
 */
async function runPruned(task: RunTask, context: TaskContext, signal: AbortSignal): Promise<FinishedTask> {
  const { states: name, index, block, pruned, parameters } = task,
    { blobs, host } = context,
    store = context.states();
  const used = await store.find({ owner: TASK_OWNER, name });
  if (!used) throw statesNotFound(name);
  const { spec } = used.forward.model, format = codedFormat(parameters.format ?? "dense");
  if (index >= spec.blockCount) throw statesNotFound(name, `have no block ${index}`);
  const answer = await blobs.open(pruned, signal);
  using _room = await store.reserve("the pruned block", 2 * answer.totalBytes, { used });
  const solved = await readAnswer(answer);
  const body = await prunedBody(await blobs.open(block, signal), solved, { spec, index, format });
  const query = searchParamsOf({ states: name, block: index });
  return await finish(await host(bodyRequest("POST", `/v1/blocks/run?${query}`, body, task, signal)));
}

/** @throws {Refusal} if the application has refused the request */
async function finish(response: Response): Promise<FinishedTask> {
  if (!response.ok) throw await readRefusal(response);
  await response.body?.cancel();
  return { state: "done" };
}
