/** Every zero-shot task there is. */

import type { Task } from "../task.ts";
import { arcChallenge, arcEasy } from "./arc.ts";
import { lambada } from "./lambada.ts";
import { piqa } from "./piqa.ts";
import { storycloze } from "./storycloze.ts";

export const TASKS: readonly Task[] = [lambada, piqa, arcEasy, arcChallenge, storycloze];

/** The task called `name`. @throws {RangeError} there is none: names those there are */
export function findTask(name: string): Task {
  const task = TASKS.find((one) => one.name === name);
  if (task) return task;
  throw new RangeError(
    `task ${name}: is unknown; these are known: ${TASKS.map((one) => one.name).join(", ")}`,
  );
}
