/**
 * The example files of zero-shot tasks in `tests/fixtures/tasks`. Their formats are those of public data
 * sets, and their sentences were written for this project.
 */

import { fileURLToPath } from "node:url";

/** The path of an example file. */
export function taskFile(name: string): string {
  return fileURLToPath(new URL(`../fixtures/tasks/${name}`, import.meta.url));
}
