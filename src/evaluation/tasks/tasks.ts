/** The list of all zero-shot tasks. */

import type { Task } from "../task.ts";
import { arcChallenge, arcEasy } from "./arc.ts";
import { lambada } from "./lambada.ts";
import { piqa } from "./piqa.ts";
import { storycloze } from "./storycloze.ts";

export const TASKS: readonly Task[] = [lambada, piqa, arcEasy, arcChallenge, storycloze];

/** Returns the task `name`. @throws {RangeError} if there is none; the message lists the tasks */
export function findTask(name: string): Task {
  const task = TASKS.find((one) => one.name === name);
  if (task) return task;
  throw new RangeError(
    `task ${name}: is unknown; the known tasks are: ${TASKS.map((one) => one.name).join(", ")}`,
  );
}
