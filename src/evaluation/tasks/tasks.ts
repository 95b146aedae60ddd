/** The list of all zero-shot tasks. */

import type { Task } from "../task.ts";
import { arcChallenge, arcEasy } from "./arc.ts";
import { lambada } from "./lambada.ts";
import { piqa } from "./piqa.ts";
import { storycloze } from "./storycloze.ts";

export const TASKS: readonly Task[] = [lambada, piqa, arcEasy, arcChallenge, storycloze];

/**
 * Returns the task with the name `name`.
 * @throws {RangeError} if there is no such task. The message lists all tasks
 */
export function findTask(name: string): Task {
  const task = TASKS.find(({ name: other }) => other === name);
  if (task) return task;
  throw new RangeError(
    `task ${name}: is unknown; the known tasks are: ${TASKS.map((known) => known.name).join(", ")}`,
  );
}
