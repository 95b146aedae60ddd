/** Runs tasks about the hidden states of a model, which live at this host between the tasks of a job. */

import { encodeBlock } from "../../client/blocks/block_answer.ts";
import type { SolvedBlock, SolvedBlockLayer } from "../../client/blocks/solved_block.ts";
import { readRefusal } from "../../protocol/refusal.ts";
import type { FinishedTask, RunTask, StatesTask } from "../../protocol/resources/tasks.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import type { BlobBody } from "./blob_store.ts";
import { decideTargets } from "./decide_targets.ts";
import { decodeAnswer, prunedBody, withAnswers } from "./pruned_body.ts";
import { shareBody } from "./share_body.ts";
import { solveShare } from "./solve_block.ts";
import { sumBlock } from "./sum_block.ts";
import { bodyRequest, statesOfTask, type TaskContext, uploadParts, uploadResult } from "./task_context.ts";

/**
 * Creates or deletes states, prunes a block or does a share of this work, or runs the states through a pruned block.
 * @throws {Refusal} as `runTask`
 * @throws {StatesNotFoundError} if the states before the block must be created again
 */
export async function runStatesTask(
  task: StatesTask,
  context: TaskContext,
  signal: AbortSignal,
): Promise<FinishedTask> {
  const { states } = task, path = `/v1/states/${states}`, { blobs, host } = context;
  if ("windows" in task) {
    const whole = await blobs.open(task.windows, signal);
    const { body, shares } = task.share ? await shareBody(whole, task.share) : { body: whole };
    const url = `${path}?target=${task.target}`;
    return { ...await finish(await host(bodyRequest("PUT", url, body, task, signal))), shares };
  }
  if (!("block" in task)) {
    return await finish(await host(new Request(`http://host${path}`, { method: "DELETE" })));
  }
  const post = (body: BlobBody, changes = {}) => {
    const query = searchParamsOf({ ...task.parameters, ...changes, states, block: task.index });
    return host(bodyRequest("POST", `/v1/blocks?${query}`, body, task, signal));
  };
  if ("step" in task) {
    const changes = { advance: false, solve: false };
    const accumulate = async (body: BlobBody) => await finish(await post(body, changes));
    return await sumBlock(task, context, signal, accumulate);
  }
  if ("sums" in task) return await solveShare(task, context, signal);
  // The block was trained when it was pruned.
  const run = (body: BlobBody, changes = {}) => post(body, { reconstruct: 0, ...changes });
  if ("pruned" in task || "parts" in task) return await runPruned(task, context, signal, run);
  const response = await post(await blobs.open(task.block, signal));
  return response.ok
    ? await uploadResult(response, task.result.url, context, signal)
    : await finish(response);
}

/**
 * Posts the body that runs the states through a pruned block. Meanwhile the result of this block is in memory, and so are its
 * tensors in the form of the checkpoint. If the result is in several parts, writes it with the error of the block as one file,
 * in which each layer has its better solution.
 */
async function runPruned(
  task: RunTask,
  context: TaskContext,
  signal: AbortSignal,
  post: (body: BlobBody, changes?: Record<string, unknown>) => Response | Promise<Response>,
): Promise<FinishedTask> {
  const { states, index, block, parameters: { format } } = task, { blobs } = context;
  const used = await statesOfTask(states, context, index), { spec } = used.forward.model;
  const bodyOf = async (solved: SolvedBlock, isPacked: boolean) =>
    await prunedBody(await blobs.open(block, signal), solved, { spec, index, isPacked });
  const measure = async (layers: readonly SolvedBlockLayer[]) => {
    const changes = { advance: false, error_against: "model" };
    const response = await post(await bodyOf({ layers }, false), changes);
    if (!response.ok) throw await readRefusal(response);
    return decodeAnswer(await response.bytes()).error!;
  };
  const sources = "parts" in task ? task.parts : [task.pruned];
  return await withAnswers(sources, used, context, signal, async (answers) => {
    const layers = answers.flatMap(({ layers }) => layers);
    const solved = { ...answers[0], ...await decideTargets(layers, measure) };
    const response = await post(await bodyOf(solved, format === "pack-quantized"));
    if (!("parts" in task) || !response.ok) return await finish(response);
    const { error } = decodeAnswer(await response.bytes());
    return await uploadParts(encodeBlock({ ...solved, error }), task.result.url, context, signal);
  });
}

/** @throws {Refusal} if the application has refused the request */
async function finish(response: Response): Promise<FinishedTask> {
  if (!response.ok) throw await readRefusal(response);
  await response.body?.cancel();
  return { state: "done" };
}
