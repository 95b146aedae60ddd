/**
 * LAMBADA (Paperno et al., 2016): the last word of a passage. Each line is `{"text": …}`, as in OpenAI's version and in
 * the original; the word is what follows the last space, so punctuation after it belongs to it.
 */

import { z } from "zod";
import type { Task } from "../task.ts";
import { text } from "./fields.ts";

const record = z.object({
  text: text.refine((passage) => !passage.endsWith(" "), "must not end in a space")
    .refine((passage) => passage.trim().includes(" "), "must have two words or more"),
});

export const lambada: Task = {
  name: "lambada",
  scoring: "last word",
  example(line) {
    const { text: passage } = record.parse(line);
    const space = passage.lastIndexOf(" ");
    return { context: passage.slice(0, space), choices: [passage.slice(space + 1)], answer: 0 };
  },
};
