/**
 * The zero-shot tasks, and what a task declares: how a line of its data set becomes a context with choices, and which metrics it has.
 * Prompts and metrics are those of lm-evaluation-harness. Each task accepts every form in which its data set is distributed.
 */

import { z } from "zod";

export interface Example {
  /** The prompt. It does not include the space before the choice. */
  readonly context: string;
  /** At least one choice. A space is put between the context and the choice. */
  readonly choices: readonly string[];
  readonly answer: number;
}

/**
 * With `choices`, the metric is the share of examples whose most likely choice is right. With `last word`, each example
 * has one choice, and the metrics are its perplexity and the share of examples for which greedy decoding would generate
 * it.
 */
export type Scoring = "choices" | "last word";

export interface Task {
  readonly name: string;
  readonly scoring: Scoring;
  /**
   * The file with the right answers, one per line, if a form of the data set has one. An answer becomes the field
   * `field` of its example. `path` returns the path of the file for a file of examples.
   */
  readonly answers?: { readonly field: string; path(examples: string): string };
  /**
   * Converts a line of any form of the data set to an example.
   * @param fields the object in a line of a `.jsonl` file, or the columns of a line of a `.csv` file as strings
   * @throws {z.ZodError} naming the fields that are missing or malformed
   */
  example(fields: Readonly<Record<string, unknown>>): Example;
}

/** The schema of a text that is not empty. */
const text = z.string().min(1, "must not be empty");

/** The schema of one of `values`, as a number or, as in CSV files, as a string of its decimal digits. */
function oneOf(...values: readonly number[]) {
  return z.union([z.number(), z.string()], { error: "must be a number" })
    .transform((value) => typeof value === "string" && /^\d+$/.test(value.trim()) ? Number(value) : value)
    .refine((value) => values.some((allowed) => allowed === value), `must be ${values.join(" or ")}`)
    .transform(Number);
}

/**
 * The task LAMBADA (Paperno et al., 2016): predict the last word of a passage. A line is `{"text": …}`, in the original
 * files and in OpenAI's version. The last word is the text after the last space, including punctuation.
 */
const lambadaSchema = z.object({
  text: text.refine((passage) => !passage.endsWith(" "), "must not end with a space")
    .refine((passage) => passage.trim().includes(" "), "must have at least two words"),
});

const lambada: Task = {
  name: "lambada",
  scoring: "last word",
  example(fields) {
    const { text: passage } = lambadaSchema.parse(fields);
    const space = passage.lastIndexOf(" ");
    return { context: passage.slice(0, space), choices: [passage.slice(space + 1)], answer: 0 };
  },
};

/**
 * The task PIQA (Bisk et al., 2020): choose which of two solutions reaches a goal. A line is `{"goal", "sol1", "sol2",
 * "label"}`. The original file `valid.jsonl` has no labels. Its labels are in `valid-labels.lst` in the same folder.
 */
const piqaSchema = z.object({ goal: z.string(), sol1: text, sol2: text, label: oneOf(0, 1) });

const piqa: Task = {
  name: "piqa",
  scoring: "choices",
  answers: { field: "label", path: (examples) => `${examples.replace(/\.jsonl$/, "")}-labels.lst` },
  example(fields) {
    const { goal, sol1, sol2, label } = piqaSchema.parse(fields);
    return { context: `Question: ${goal}\nAnswer:`, choices: [sol1, sol2], answer: label };
  },
};

/**
 * The tasks ARC easy and ARC challenge (Clark et al., 2018): science questions from school exams, with three to five
 * choices. A line of the original files is `{"question": {"stem", "choices": [{"text", "label"}]}, "answerKey"}`. A
 * line of the files on the Hugging Face hub is `{"question", "choices": {"text": […], "label": […]}, "answerKey"}`.
 */
const arcOriginal = z.object({
  question: z.object({
    stem: z.string(),
    choices: z.array(z.object({ text, label: z.string() })).min(1),
  }),
  answerKey: z.string(),
}).transform(({ question: { stem, choices }, answerKey }) => {
  return {
    question: stem,
    texts: choices.map(({ text }) => text),
    labels: choices.map(({ label }) => label),
    answerKey,
  };
});

const arcHub = z.object({
  question: z.string(),
  choices: z.object({ text: z.array(text).min(1), label: z.array(z.string()) }).refine(
    (choices) => choices.text.length === choices.label.length,
    "must have one label per text",
  ),
  answerKey: z.string(),
}).transform(({ question, choices: { text, label }, answerKey }) => {
  return { question, texts: text, labels: label, answerKey };
});

const arcEasy: Task = { name: "arc_easy", scoring: "choices", example: arcExample };
const arcChallenge: Task = { name: "arc_challenge", scoring: "choices", example: arcExample };

/** @throws {z.ZodError} if a field is malformed, or if no choice has the label `answerKey` */
function arcExample(fields: Readonly<Record<string, unknown>>): Example {
  const schema = typeof fields.question === "object" ? arcOriginal : arcHub;
  const { question, texts, labels, answerKey } = schema.parse(fields), answer = labels.indexOf(answerKey);
  if (answer < 0) {
    const message = `must be the label of a choice (${labels.join(", ")}), got ${answerKey}`;
    throw new z.ZodError([{ code: "custom", path: ["answerKey"], message, input: answerKey }]);
  }
  return { context: `Question: ${question}\nAnswer:`, choices: texts, answer };
}

/**
 * The task StoryCloze (Mostafazadeh et al., 2016): choose which of two sentences ends a story of four sentences. The
 * fields of the four sentences and of both endings have numbered names, as in the published CSV files, or as in the data set on the
 * Hugging Face hub. lm-evaluation-harness reports only `acc` for this task.
 */
const STORY_FORMS = {
  published: { sentence: "InputSentence", ending: "RandomFifthSentenceQuiz", right: "AnswerRightEnding" },
  hub: { sentence: "input_sentence_", ending: "sentence_quiz", right: "answer_right_ending" },
};

const storycloze: Task = {
  name: "storycloze",
  scoring: "choices",
  example(fields) {
    const { published, hub } = STORY_FORMS;
    const { sentence, ending, right } = `${hub.sentence}1` in fields ? hub : published;
    const sentences = [1, 2, 3, 4].map((n) => sentence + n), endings = [1, 2].map((n) => ending + n);
    const texts = Object.fromEntries([...sentences, ...endings].map((name) => [name, text]));
    const story = z.object({ ...texts, [right]: oneOf(1, 2) }).parse(fields);
    const [context, choices] = [sentences, endings].map((names) => names.map((name) => String(story[name])));
    return { context: context.join(" "), choices, answer: Number(story[right]) - 1 };
  },
};

export const TASKS: readonly Task[] = [lambada, piqa, arcEasy, arcChallenge, storycloze];

/** Returns the task with the name `name`. @throws {RangeError} if there is no such task. The message lists all tasks */
export function findTask(name: string): Task {
  const task = TASKS.find(({ name: other }) => other === name);
  if (task) return task;
  throw new RangeError(
    `task ${name}: is unknown; the known tasks are: ${TASKS.map((known) => known.name).join(", ")}`,
  );
}
