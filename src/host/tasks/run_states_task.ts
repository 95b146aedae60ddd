/** Runs tasks about the hidden states of a model, which live at this host between the tasks of a job. */

import { readRefusal, Refusal } from "../../protocol/refusal.ts";
import type { FinishedTask, StatesTask } from "../../protocol/resources/tasks.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import type { BlobBody } from "./blob_store.ts";
import { prunedBody, readAnswer } from "./pruned_body.ts";
import { bodyRequest, type TaskContext, uploadResult } from "./task_context.ts";

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
  const post = (body: BlobBody) => host(bodyRequest("POST", `/v1/blocks?${query}`, body, task, signal));
  if ("pruned" in task) return await finish(await runPruned(task, context, signal, post));
  const response = await post(await blobs.open(task.block, signal));
  return response.ok
    ? await uploadResult(response, task.result.url, context, signal)
    : await finish(response);
}

/**
 * Posts the body that runs the states through a pruned block. Meanwhile the result of this block is in memory, and so are its
 * tensors in the form of the checkpoint.
 */
async function runPruned(
  { states: name, index, block, pruned, parameters: { format } }: Extract<StatesTask, { pruned: unknown }>,
  { blobs, states }: TaskContext,
  signal: AbortSignal,
  post: (body: BlobBody) => Response | Promise<Response>,
): Promise<Response> {
  // The requests of tasks have no key, so their states belong to the owner "".
  const store = states(), used = await store.find({ owner: "", name }), spec = used?.forward.model.spec;
  if (!used || !spec || index >= spec.blockCount) {
    throw new Refusal("states_not_found", `the states ${name} are not stored, or have no block ${index}`);
  }
  const answer = await blobs.open(pruned, signal);
  using _room = await store.reserve("the pruned block", 2 * answer.totalBytes, { used });
  const solved = await readAnswer(answer);
  const body = await blobs.open(block, signal);
  return await post(await prunedBody(body, solved, { spec, index, isPacked: format === "pack-quantized" }));
}

/** @throws {Refusal} if the application has refused the request */
async function finish(response: Response): Promise<FinishedTask> {
  if (!response.ok) throw await readRefusal(response);
  await response.body?.cancel();
  return { state: "done" };
}
