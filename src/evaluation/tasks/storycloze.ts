/**
 * The task StoryCloze (Mostafazadeh et al., 2016): choose which of two sentences ends a story of four
 * sentences. The fields have the names of the published CSV files, or the names of the data set on the
 * Hugging Face hub. lm-evaluation-harness reports only `acc` for this task.
 */

import { z } from "zod";
import type { Task } from "../task.ts";
import { oneOf, text } from "./fields.ts";

const original = z.object({
  InputSentence1: text,
  InputSentence2: text,
  InputSentence3: text,
  InputSentence4: text,
  RandomFifthSentenceQuiz1: text,
  RandomFifthSentenceQuiz2: text,
  AnswerRightEnding: oneOf(1, 2),
}).transform((story) => ({
  sentences: [story.InputSentence1, story.InputSentence2, story.InputSentence3, story.InputSentence4],
  choices: [story.RandomFifthSentenceQuiz1, story.RandomFifthSentenceQuiz2],
  ending: story.AnswerRightEnding,
}));

const hub = z.object({
  input_sentence_1: text,
  input_sentence_2: text,
  input_sentence_3: text,
  input_sentence_4: text,
  sentence_quiz1: text,
  sentence_quiz2: text,
  answer_right_ending: oneOf(1, 2),
}).transform((story) => ({
  sentences: [
    story.input_sentence_1,
    story.input_sentence_2,
    story.input_sentence_3,
    story.input_sentence_4,
  ],
  choices: [story.sentence_quiz1, story.sentence_quiz2],
  ending: story.answer_right_ending,
}));

export const storycloze: Task = {
  name: "storycloze",
  scoring: "choices",
  example(fields) {
    const { sentences, choices, ending } = ("input_sentence_1" in fields ? hub : original).parse(fields);
    return { context: sentences.join(" "), choices, answer: ending - 1 };
  },
};
