/**
 * PIQA (Bisk et al., 2020): choose which of two ways reaches a goal. Lines are `{"goal", "sol1", "sol2", "label"}`. The original
 * `valid.jsonl` has no labels; they are in the file `valid-labels.lst` beside it.
 */

import { z } from "zod";
import type { Task } from "../task.ts";
import { oneOf, text } from "./fields.ts";

const record = z.object({ goal: z.string(), sol1: text, sol2: text, label: oneOf(0, 1) });

export const piqa: Task = {
  name: "piqa",
  scoring: "choices",
  answers: { field: "label", path: (examples) => `${examples.replace(/\.jsonl$/, "")}-labels.lst` },
  example(line) {
    const { goal, sol1, sol2, label } = record.parse(line);
    return { context: `Question: ${goal}\nAnswer:`, choices: [sol1, sol2], answer: label };
  },
};
