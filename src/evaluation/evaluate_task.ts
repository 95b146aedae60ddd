/** Evaluates a model on a zero-shot task: computes the likelihood of every choice of every example, and from them the task's metrics. */

import type { Tokenizer } from "@huggingface/tokenizers";
import type { Backend } from "../backend/backend.ts";
import { ModelError } from "../files/model_error.ts";
import type { Model } from "../models/model.ts";
import { encodeRequest, type LikelihoodRequest } from "./encode_request.ts";
import { type LikelihoodOptions, logLikelihoods } from "./log_likelihoods.ts";
import { score, type TaskMetrics } from "./metrics.ts";
import type { PlacedExample } from "./read_examples.ts";
import type { Task } from "./task.ts";

/**
 * Returns the metrics of `model` on `examples`, of which there must be at least one.
 * @throws {ModelError} naming the file and line of a choice that does not fit the model's window or has no tokens
 */
export async function evaluateTask(
  task: Task,
  examples: readonly PlacedExample[],
  model: Model,
  tokenizer: Tokenizer,
  backend: Backend,
  options: Omit<LikelihoodOptions, "greedy"> = {},
): Promise<TaskMetrics> {
  const requests = examples.flatMap((example) => encodeExample(example, tokenizer, model.spec.maxTokens));
  const greedy = task.scoring === "last word";
  const scored = await logLikelihoods(model, backend, requests, { ...options, greedy });
  let next = 0;
  const likelihoods = examples.map(({ choices }) => scored.slice(next, next += choices.length));
  return score(task.scoring, examples, likelihoods);
}

function encodeExample(
  { context, choices, place }: PlacedExample,
  tokenizer: Tokenizer,
  maxTokens: number,
): LikelihoodRequest[] {
  try {
    return choices.map((choice) => encodeRequest(tokenizer, context, ` ${choice}`, maxTokens));
  } catch (error) {
    if (error instanceof RangeError) throw new ModelError(`${place}: ${error.message}`, { cause: error });
    throw error;
  }
}
