/** Runs tasks about the hidden states of a model, which live at this host between the tasks of a job. */

import { encodeBlock } from "../../client/blocks/block_answer.ts";
import type { SolvedBlock, SolvedBlockLayer } from "../../client/blocks/solved_block.ts";
import { PRUNED } from "../../protocol/block_names.ts";
import { readRefusal } from "../../protocol/refusal.ts";
import type { FinishedTask, RunTask, StatesTask, TrainTask } from "../../protocol/resources/tasks.ts";
import { searchParamsOf } from "../../protocol/search_params.ts";
import type { States } from "../blocks/states.ts";
import type { BlobBody } from "./blob_store.ts";
import { decideTargets } from "./decide_targets.ts";
import { decodeAnswer, joinAnswers, prunedBody, withAnswers } from "./pruned_body.ts";
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
  if ("step" in task && task.step === "train") return await trainBlock(task, context, signal, post);
  if ("step" in task) {
    const changes = { advance: false, solve: false, reconstruct: 0 };
    const accumulate = async (body: BlobBody, parameters = {}) =>
      await finish(await post(body, { ...changes, ...parameters }));
    return await sumBlock(task, context, signal, accumulate);
  }
  if ("sums" in task) return await solveShare(task, context, signal);
  if ("pruned" in task || "parts" in task) return await runPruned(task, context, signal, post);
  const response = await post(await blobs.open(task.block, signal));
  return response.ok
    ? await uploadResult(response, task.result.url, context, signal)
    : await finish(response);
}

/** Posts a body of `POST /v1/blocks` with the parameters of the block and with changes. */
type PostBlock = (body: BlobBody, changes?: Record<string, unknown>) => Response | Promise<Response>;

/** The bodies of requests about a block that is pruned, and the measurement of a solution. */
function requestsOf(
  { index, block }: RunTask | TrainTask,
  { forward: { model: { spec } } }: States,
  { blobs }: TaskContext,
  signal: AbortSignal,
  post: PostBlock,
) {
  const bodyOf = async (solved: SolvedBlock, isPacked: boolean) =>
    await prunedBody(await blobs.open(block, signal), solved, { spec, index, isPacked });
  const measure = async (layers: readonly SolvedBlockLayer[]) => {
    const changes = { advance: false, error_against: "model", reconstruct: 0 };
    const response = await post(await bodyOf({ layers }, false), changes);
    if (!response.ok) throw await readRefusal(response);
    return decodeAnswer(await response.bytes()).error!;
  };
  return { bodyOf, measure };
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
  post: PostBlock,
): Promise<FinishedTask> {
  const { states, index, parameters: { format } } = task, used = await statesOfTask(states, context, index);
  const { bodyOf, measure } = requestsOf(task, used, context, signal, post);
  const sources = "parts" in task ? task.parts : [task.pruned];
  return await withAnswers(sources, used, context, signal, async (answers) => {
    const joined = "parts" in task ? joinAnswers(answers) : answers[0];
    const solved = { ...joined, ...await decideTargets(joined.layers, measure) };
    // The block was trained when it was pruned.
    const response = await post(await bodyOf(solved, format === "pack-quantized"), { reconstruct: 0 });
    if (!("parts" in task) || !response.ok) return await finish(response);
    const { error } = decodeAnswer(await response.bytes());
    return await uploadParts(encodeBlock({ ...solved, error }), task.result.url, context, signal);
  });
}

/**
 * Trains a block whose layers are solved. Writes the layers and the trained tensors, or only tensors if the layers are rounded later.
 * These are the trained ones and the weights of the layers that the training has not changed.
 */
async function trainBlock(
  task: TrainTask,
  context: TaskContext,
  signal: AbortSignal,
  post: PostBlock,
): Promise<FinishedTask> {
  const { states, index, solved: sources, result } = task, used = await statesOfTask(states, context, index);
  const { bodyOf, measure } = requestsOf(task, used, context, signal, post);
  return await withAnswers(sources, used, context, signal, async (answers) => {
    const solved = await decideTargets(joinAnswers(answers).layers, measure),
      body = await bodyOf(solved, false);
    const response = await post(body, { advance: false });
    if (!response.ok) throw await readRefusal(response);
    const { reconstructed } = decodeAnswer(await response.bytes()), { queries } = body;
    const isRoundedLast = [...queries.values()].some(({ bits }) => bits !== undefined);
    const pruned = Array.from(
      body.replaced,
      ([name, tensor]) => [name.slice(PRUNED.length), tensor] as const,
    );
    const whole = reconstructed &&
      { ...reconstructed, tensors: new Map([...pruned, ...reconstructed.tensors]) };
    const file = isRoundedLast
      ? { ...solved, layers: [], reconstructed: whole }
      : { ...solved, reconstructed };
    return await uploadParts(encodeBlock(file), result.url, context, signal);
  });
}

/** @throws {Refusal} if the application has refused the request */
async function finish(response: Response): Promise<FinishedTask> {
  if (!response.ok) throw await readRefusal(response);
  await response.body?.cancel();
  return { state: "done" };
}
