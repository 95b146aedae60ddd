/**
 * LAMBADA (Paperno et al., 2016): predict the last word of a passage. Each line is `{"text": …}`, as in the original and in OpenAI's
 * version. The last word is everything after the last space, including punctuation.
 */

import { z } from "zod";
import type { Task } from "../task.ts";
import { text } from "./fields.ts";

const record = z.object({
  text: text.refine((passage) => !passage.endsWith(" "), "must not end in a space")
    .refine((passage) => passage.trim().includes(" "), "must have at least two words"),
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
