/** The files of `tests/fixtures/tasks`: our own sentences in the forms the data sets are distributed in. */

import { fileURLToPath } from "node:url";

/** The path of a fixture file. */
export function taskFile(name: string): string {
  return fileURLToPath(new URL(`../fixtures/tasks/${name}`, import.meta.url));
}
