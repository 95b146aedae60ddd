/** Evaluates a model on a zero-shot task. */

import type { Tokenizer } from "@huggingface/tokenizers";
import type { Backend } from "../../device/backend.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { Model } from "../model.ts";
import { encodeRequest, type LikelihoodRequest } from "./encode_request.ts";
import { computeLogLikelihoods, type LikelihoodOptions } from "./log_likelihoods.ts";
import { computeTaskMetrics, type TaskMetrics } from "./task_metrics.ts";
import type { LocatedExample } from "./read_examples.ts";
import type { Task } from "./tasks.ts";

/**
 * Computes the metrics of `model` on the examples of a task.
 * @param examples at least one example
 * @throws {ModelError} naming the file and line of a choice that has no tokens or is longer than a window of the model
 */
export async function evaluateTask(
  task: Task,
  examples: readonly LocatedExample[],
  model: Model,
  tokenizer: Tokenizer,
  backend: Backend,
  options: Omit<LikelihoodOptions, "greedy"> = {},
): Promise<TaskMetrics> {
  const requests = examples.flatMap((example) => encodeExample(example, tokenizer, model.spec.maxTokens));
  const greedy = task.scoring === "last word";
  const flat = await computeLogLikelihoods(model, backend, requests, { ...options, greedy });
  let next = 0;
  const likelihoods = examples.map(({ choices }) => flat.slice(next, next += choices.length));
  return computeTaskMetrics(task.scoring, examples, likelihoods);
}

/** Encodes one request per choice. @throws {ModelError} naming the file and line of the example */
function encodeExample(
  { context, choices, location }: LocatedExample,
  tokenizer: Tokenizer,
  maxTokens: number,
): LikelihoodRequest[] {
  try {
    return choices.map((choice) => encodeRequest(tokenizer, context, ` ${choice}`, maxTokens));
  } catch (error) {
    if (error instanceof RangeError) throw new ModelError(`${location}: ${error.message}`, { cause: error });
    throw error;
  }
}
