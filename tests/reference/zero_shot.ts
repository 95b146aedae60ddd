/**
 * Zero-shot evaluation in float64: the prompts of the tasks, the log-likelihood of a continuation, and the accuracy. The
 * definitions are those of EleutherAI's lm-evaluation-harness. Each prompt runs with each of its continuations alone through the
 * naive forward pass, without batches or padding. The file supports only the task formats of the files in `tests/fixtures/tasks`.
 */

import type { Tokenizer } from "@huggingface/tokenizers";
import { forwardOpt, type OptReference } from "./opt_forward.ts";

/** A prompt and its possible continuations, each with its leading space. */
export interface ReferenceExample {
  readonly prompt: string;
  readonly continuations: readonly string[];
  /** The index of the correct continuation. */
  readonly right: number;
}

/** The score that a model gives to a continuation. */
export interface ReferenceScore {
  /** The log-likelihood of the continuation, in nats. */
  readonly logLikelihood: number;
  /** Whether every token of the continuation is the model's most likely token at its position. */
  readonly greedy: boolean;
}

/** For each task, a function that makes an example from a parsed line of its data file. */
export const PROMPTS = {
  lambada: ({ text }: { text: string }): ReferenceExample => {
    const words = text.split(" ");
    return { prompt: words.slice(0, -1).join(" "), continuations: [` ${words.at(-1)}`], right: 0 };
  },
  piqa: (line: { goal: string; sol1: string; sol2: string; label: number }): ReferenceExample => ({
    prompt: "Question: " + line.goal + "\nAnswer:",
    continuations: [" " + line.sol1, " " + line.sol2],
    right: line.label,
  }),
  arc: (
    line: { question: string; choices: { text: string[]; label: string[] }; answerKey: string },
  ): ReferenceExample => ({
    prompt: "Question: " + line.question + "\nAnswer:",
    continuations: line.choices.text.map((text) => " " + text),
    right: line.choices.label.findIndex((label) => label === line.answerKey),
  }),
  storycloze: (line: Record<string, string | number>): ReferenceExample => ({
    prompt: [1, 2, 3, 4].map((n) => line[`input_sentence_${n}`]).join(" "),
    continuations: [" " + line.sentence_quiz1, " " + line.sentence_quiz2],
    right: Number(line.answer_right_ending) - 1,
  }),
};

/**
 * Scores a continuation. White space at the end of the prompt counts as part of the continuation.
 *
 * @param positions the largest number of tokens that the model can read. If there are more, the oldest tokens
 * are dropped.
 */
export function scoreContinuation(
  model: OptReference,
  tokenizer: Tokenizer,
  prompt: string,
  continuation: string,
  positions: number,
): ReferenceScore {
  const spaces = /\s*$/.exec(prompt)![0];
  const start = prompt.slice(0, prompt.length - spaces.length);
  const encode = (text: string) => tokenizer.encode(text, { add_special_tokens: false }).ids;
  const all = encode(start + spaces + continuation);
  const wanted = all.slice(encode(start).length);
  const fed = all.slice(-(positions + 1)).slice(0, -1);
  const { logits } = forwardOpt(model, fed);
  let logLikelihood = 0, greedy = true;
  for (const [i, id] of wanted.entries()) {
    const t = fed.length - wanted.length + i;
    const row = [...logits.subarray(t * model.vocabulary, (t + 1) * model.vocabulary)];
    const largest = Math.max(...row);
    logLikelihood += row[id] - largest - Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0));
    greedy &&= row.indexOf(largest) === id;
  }
  return { logLikelihood, greedy };
}

/**
 * The fraction of examples for which the correct continuation has the highest score. The score is the log-likelihood, or
 * with `byLength` the log-likelihood divided by the number of characters of the continuation.
 */
export function accuracy(
  examples: readonly ReferenceExample[],
  scores: readonly (readonly ReferenceScore[])[],
  byLength: boolean,
): number {
  let right = 0;
  for (const [i, example] of examples.entries()) {
    let best = -1, bestScore = -Infinity;
    for (const [c, { logLikelihood }] of scores[i].entries()) {
      const characters = Array.from(example.continuations[c].slice(1)).length;
      const score = byLength ? logLikelihood / characters : logLikelihood;
      if (score > bestScore) [best, bestScore] = [c, score];
    }
    if (best === example.right) right++;
  }
  return right / examples.length;
}
