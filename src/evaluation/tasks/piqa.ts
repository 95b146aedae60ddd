/**
 * The task PIQA (Bisk et al., 2020): choose which of two solutions reaches a goal. A line is
 * `{"goal", "sol1", "sol2", "label"}`. The original file `valid.jsonl` has no labels. Its labels are in the
 * file `valid-labels.lst` in the same folder.
 */

import { z } from "zod";
import type { Task } from "../task.ts";
import { oneOf, text } from "./fields.ts";

const schema = z.object({ goal: z.string(), sol1: text, sol2: text, label: oneOf(0, 1) });

export const piqa: Task = {
  name: "piqa",
  scoring: "choices",
  answers: { field: "label", path: (examples) => `${examples.replace(/\.jsonl$/, "")}-labels.lst` },
  example(fields) {
    const { goal, sol1, sol2, label } = schema.parse(fields);
    return { context: `Question: ${goal}\nAnswer:`, choices: [sol1, sol2], answer: label };
  },
};
