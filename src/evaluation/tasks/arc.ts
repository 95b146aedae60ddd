/**
 * The tasks ARC easy and ARC challenge (Clark et al., 2018): science questions from school exams, with three to five choices. A
 * line of the original files is `{"question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}`. A line of the files on
 * the Hugging Face hub is `{"question", "choices": {"text": […], "label": […]}, "answerKey"}`.
 */

import { z } from "zod";
import type { Example, Task } from "../task.ts";
import { text } from "./fields.ts";

const original = z.object({
  question: z.object({
    stem: z.string(),
    choices: z.array(z.object({ text, label: z.string() })).min(1),
  }),
  answerKey: z.string(),
});

const hub = z.object({
  question: z.string(),
  choices: z.object({ text: z.array(text).min(1), label: z.array(z.string()) }).refine(
    (choices) => choices.text.length === choices.label.length,
    "must have one label per text",
  ),
  answerKey: z.string(),
});

export const arcEasy: Task = { name: "arc_easy", scoring: "choices", example };
export const arcChallenge: Task = { name: "arc_challenge", scoring: "choices", example };

function example(fields: Readonly<Record<string, unknown>>): Example {
  if (typeof fields.question === "object") {
    const { question: { stem, choices }, answerKey } = original.parse(fields);
    return buildExample(
      stem,
      choices.map((choice) => choice.text),
      choices.map(({ label }) => label),
      answerKey,
    );
  }
  const { question, choices, answerKey } = hub.parse(fields);
  return buildExample(question, choices.text, choices.label, answerKey);
}

/** @throws {z.ZodError} if no choice has the label `answerKey` */
function buildExample(
  question: string,
  choices: readonly string[],
  labels: readonly string[],
  answerKey: string,
): Example {
  const answer = labels.indexOf(answerKey);
  if (answer < 0) {
    const message = `must be the label of a choice (${labels.join(", ")}), got ${answerKey}`;
    throw new z.ZodError([{ code: "custom", path: ["answerKey"], message, input: answerKey }]);
  }
  return { context: `Question: ${question}\nAnswer:`, choices, answer };
}
