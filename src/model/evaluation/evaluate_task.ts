/** Evaluates a model on a zero-shot task, by the metrics that lm-evaluation-harness defines. */

import type { Tokenizer } from "@huggingface/tokenizers";
import type { Backend } from "../../device/backend.ts";
import { ModelError } from "../../base/files/file_error.ts";
import type { Model } from "../model.ts";
import { encodeRequest, type LikelihoodRequest } from "./encode_request.ts";
import { computeLogLikelihoods, type Likelihood, type LikelihoodOptions } from "./log_likelihoods.ts";
import type { LocatedExample } from "./read_examples.ts";
import type { Example, Scoring, Task } from "./tasks.ts";

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

export interface Metric {
  readonly value: number;
  /** The standard error of the value. It is null if there is only one example. */
  readonly stderr: number | null;
}

/** The metrics of a task by name. They are `acc` and `acc_norm`, or `perplexity` and `acc`. */
export type TaskMetrics = Readonly<Record<string, Metric>>;

/** Computes the metrics of a task. @param likelihoods for each example, one likelihood per choice, in order */
export function computeTaskMetrics(
  scoring: Scoring,
  examples: readonly Example[],
  likelihoods: readonly (readonly Likelihood[])[],
): TaskMetrics {
  return scoring === "choices" ? choiceMetrics(examples, likelihoods) : lastWordMetrics(likelihoods);
}

/**
 * Computes the shares of examples whose best choice is right. For `acc`, the best choice has the highest
 * log-likelihood. For `acc_norm`, it has the highest log-likelihood per Unicode character, without the space before the
 * choice. Of equal choices, the first is the best.
 */
function choiceMetrics(
  examples: readonly Example[],
  likelihoods: readonly (readonly Likelihood[])[],
): TaskMetrics {
  const accuracy = (scoreOf: (likelihood: Likelihood, choice: string) => number) =>
    mean(examples.map(({ choices, answer }, i) => {
      const scores = choices.map((choice, c) => scoreOf(likelihoods[i][c], choice));
      return scores.indexOf(Math.max(...scores)) === answer ? 1 : 0;
    }));
  return {
    acc: accuracy(({ logLikelihood }) => logLikelihood),
    acc_norm: accuracy(({ logLikelihood }, choice) => logLikelihood / [...choice].length),
  };
}

/**
 * Computes the perplexity per word, and the share of words that greedy decoding would generate. The standard error of
 * the perplexity is the perplexity times the standard error of the mean log-likelihood. lm-evaluation-harness estimates
 * the same quantity from bootstrap samples.
 */
function lastWordMetrics(likelihoods: readonly (readonly Likelihood[])[]): TaskMetrics {
  const loss = mean(likelihoods.map(([{ logLikelihood }]) => -logLikelihood));
  const perplexity = Math.exp(loss.value);
  return {
    perplexity: { value: perplexity, stderr: loss.stderr === null ? null : perplexity * loss.stderr },
    acc: mean(likelihoods.map(([{ greedy }]) => greedy ? 1 : 0)),
  };
}

/** Returns the mean of `values`, with its standard error: the sample standard deviation divided by √n. */
function mean(values: readonly number[]): Metric {
  const n = values.length;
  const value = values.reduce((sum, x) => sum + x, 0) / n;
  const squares = values.reduce((sum, x) => sum + (x - value) ** 2, 0);
  return { value, stderr: n < 2 ? null : Math.sqrt(squares / (n - 1) / n) };
}
