/**
 * ARC (Clark et al., 2018), easy and challenge: school science questions with three to five choices. The original lines are
 * `{"question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}`; those on the Hugging Face hub are
 * `{"question", "choices": {"text": […], "label": […]}, "answerKey"}`.
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
    "must have a label a text",
  ),
  answerKey: z.string(),
});

export const arcEasy: Task = { name: "arc_easy", scoring: "choices", example };
export const arcChallenge: Task = { name: "arc_challenge", scoring: "choices", example };

function example(line: Readonly<Record<string, unknown>>): Example {
  if (typeof line.question === "object") {
    const { question: { stem, choices }, answerKey } = original.parse(line);
    return build(stem, choices.map((choice) => choice.text), choices.map(({ label }) => label), answerKey);
  }
  const { question, choices, answerKey } = hub.parse(line);
  return build(question, choices.text, choices.label, answerKey);
}

function build(
  question: string,
  choices: readonly string[],
  labels: readonly string[],
  answerKey: string,
): Example {
  const answer = labels.indexOf(answerKey);
  if (answer < 0) {
    const message = `must be a choice's label, one of ${labels.join(", ")}, got ${answerKey}`;
    throw new z.ZodError([{ code: "custom", path: ["answerKey"], message, input: answerKey }]);
  }
  return { context: `Question: ${question}\nAnswer:`, choices, answer };
}
