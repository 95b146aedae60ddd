/** From log-likelihoods to the figures that are published of a task, by lm-evaluation-harness's definitions. */

import type { Likelihood } from "./log_likelihoods.ts";
import type { Example, Scoring } from "./task.ts";

/** A figure. */
export interface Metric {
  readonly value: number;
  /** Its standard error; null where one example cannot tell. */
  readonly stderr: number | null;
}

/** Figures by name: `acc`, `acc_norm`, `perplexity`. */
export type Metrics = Readonly<Record<string, Metric>>;

/**
 * The figures of a task.
 * @param likelihoods of each example, one a choice
 */
export function score(
  scoring: Scoring,
  examples: readonly Example[],
  likelihoods: readonly (readonly Likelihood[])[],
): Metrics {
  return scoring === "choices" ? judgeChoices(examples, likelihoods) : judgeLastWords(likelihoods);
}

/** `acc_norm` chooses by the log-likelihood a character (Unicode code point) of the choice, the space before it not counted. */
function judgeChoices(
  examples: readonly Example[],
  likelihoods: readonly (readonly Likelihood[])[],
): Metrics {
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
 * `perplexity` is of a whole word, not of its tokens. Its error is the mean log-likelihood's carried through the exponential, where the
 * harness draws bootstrap samples: both estimate the same.
 */
function judgeLastWords(likelihoods: readonly (readonly Likelihood[])[]): Metrics {
  const loss = mean(likelihoods.map(([{ logLikelihood }]) => -logLikelihood));
  const perplexity = Math.exp(loss.value);
  return {
    perplexity: { value: perplexity, stderr: loss.stderr === null ? null : perplexity * loss.stderr },
    acc: mean(likelihoods.map(([{ greedy }]) => greedy ? 1 : 0)),
  };
}

/** The mean, and the sample's standard deviation over √n. */
function mean(values: readonly number[]): Metric {
  const n = values.length;
  const value = values.reduce((sum, x) => sum + x, 0) / n;
  const squares = values.reduce((sum, x) => sum + (x - value) ** 2, 0);
  return { value, stderr: n < 2 ? null : Math.sqrt(squares / (n - 1) / n) };
}
