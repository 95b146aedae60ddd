/**
 * Zero-shot scores in naive float64: one request at a time through the naive forward pass, without batches or padding. The prompts are
 * those of EleutherAI's lm-evaluation-harness, written here independently of `src`, for the file forms in `tests/fixtures/tasks` only.
 */

import { Tokenizer } from "@huggingface/tokenizers";
import { forwardOpt, type OptReference } from "./opt_forward.ts";

/** A prompt, its possible continuations, each with the space before it, and the index of the right one. */
export interface ReferenceExample {
  readonly prompt: string;
  readonly continuations: readonly string[];
  readonly right: number;
}

/** The score of one continuation: log p in nats, and whether greedy decoding would produce it. */
export interface ReferenceScore {
  readonly logLikelihood: number;
  readonly greedy: boolean;
}

/** For each task, the function that turns a parsed line of its file into an example. */
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
 * Scores a continuation of a prompt. The model sees at most the last `positions` tokens. Spaces at the end of the prompt count as part of
 * the continuation.
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
  const targets = all.slice(encode(start).length);
  const input = all.slice(-(positions + 1)).slice(0, -1);
  const { logits } = forwardOpt(model, input);
  let logLikelihood = 0, greedy = true;
  for (const [i, id] of targets.entries()) {
    const t = input.length - targets.length + i;
    const row = [...logits.subarray(t * model.vocabulary, (t + 1) * model.vocabulary)];
    const largest = Math.max(...row);
    logLikelihood += row[id] - largest - Math.log(row.reduce((sum, x) => sum + Math.exp(x - largest), 0));
    greedy &&= row.indexOf(largest) === id;
  }
  return { logLikelihood, greedy };
}

/**
 * Returns the fraction of examples whose best continuation is the right one. With `byLength`, each log-likelihood is first divided by the
 * number of characters of its continuation, without the leading space.
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
