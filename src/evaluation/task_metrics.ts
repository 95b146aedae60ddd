/** Computes the metrics of a task from log-likelihoods, with the definitions of lm-evaluation-harness. */

import type { Likelihood } from "./log_likelihoods.ts";
import type { Example, Scoring } from "./task.ts";

/** A metric. */
export interface Metric {
  readonly value: number;
  /** The standard error, or null for a single example. */
  readonly stderr: number | null;
}

/** Metrics by name: `acc`, `acc_norm`, `perplexity`. */
export type TaskMetrics = Readonly<Record<string, Metric>>;

/**
 * Returns the metrics of a task.
 * @param likelihoods for each example, one likelihood per choice
 */
export function score(
  scoring: Scoring,
  examples: readonly Example[],
  likelihoods: readonly (readonly Likelihood[])[],
): TaskMetrics {
  return scoring === "choices" ? scoreChoices(examples, likelihoods) : scoreLastWords(likelihoods);
}

/** `acc_norm` chooses by the log-likelihood per character (Unicode code point) of the choice, without the space before it. */
function scoreChoices(
  examples: readonly Example[],
  likelihoods: readonly (readonly Likelihood[])[],
): TaskMetrics {
  const hits = (score: (likelihood: Likelihood, choice: string) => number) =>
    mean(examples.map(({ choices, answer }, i) => {
      const scores = choices.map((choice, c) => score(likelihoods[i][c], choice));
      return scores.indexOf(Math.max(...scores)) === answer ? 1 : 0;
    }));
  return {
    acc: hits(({ logLikelihood }) => logLikelihood),
    acc_norm: hits(({ logLikelihood }, choice) => logLikelihood / [...choice].length),
  };
}

/**
 * `perplexity` counts whole words, not tokens. Its standard error is propagated from that of the mean log-likelihood. The harness uses
 * bootstrap samples instead, which estimate the same quantity.
 */
function scoreLastWords(likelihoods: readonly (readonly Likelihood[])[]): TaskMetrics {
  const loss = mean(likelihoods.map(([{ logLikelihood }]) => -logLikelihood));
  const perplexity = Math.exp(loss.value);
  return {
    perplexity: { value: perplexity, stderr: loss.stderr === null ? null : perplexity * loss.stderr },
    acc: mean(likelihoods.map(([{ greedy }]) => greedy ? 1 : 0)),
  };
}

/** Returns the mean, and the sample standard deviation divided by √n. */
function mean(values: readonly number[]): Metric {
  const n = values.length;
  const value = values.reduce((sum, x) => sum + x, 0) / n;
  const squares = values.reduce((sum, x) => sum + (x - value) ** 2, 0);
  return { value, stderr: n < 2 ? null : Math.sqrt(squares / (n - 1) / n) };
}
