/**
 * The task LAMBADA (Paperno et al., 2016): predict the last word of a passage. A line is `{"text": …}`, in the original files
 * and in OpenAI's version. The last word is the text after the last space, including punctuation.
 */

import { z } from "zod";
import type { Task } from "../task.ts";
import { text } from "./fields.ts";

const schema = z.object({
  text: text.refine((passage) => !passage.endsWith(" "), "must not end with a space")
    .refine((passage) => passage.trim().includes(" "), "must have at least two words"),
});

export const lambada: Task = {
  name: "lambada",
  scoring: "last word",
  example(fields) {
    const { text: passage } = schema.parse(fields);
    const space = passage.lastIndexOf(" ");
    return { context: passage.slice(0, space), choices: [passage.slice(space + 1)], answer: 0 };
  },
};
