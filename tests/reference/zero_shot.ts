/**
 * Zero-shot scores from their definition in float64: one request at a time through the naive forward, nothing batched or padded, and
 * the prompts written out once more. It reads the forms of the files in `tests/fixtures/tasks` alone.
 */

import { Tokenizer } from "@huggingface/tokenizers";
import { forwardOpt, type OptReference } from "./opt_forward.ts";

/** A prompt and what may follow, the space before it included. */
export interface ReferenceExample {
  readonly prompt: string;
  readonly continuations: readonly string[];
  readonly right: number;
}

/** What a model says of a continuation. */
export interface ReferenceScore {
  readonly logLikelihood: number;
  readonly greedy: boolean;
}

/** A function from a parsed line to its example, by task. */
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

/** log p of the continuation, fed at most `positions` tokens. */
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

/** The fraction of examples whose best continuation is the right one; divided by its characters where `byLength`. */
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
