/** Locates the files of `tests/fixtures/tasks`, which hold our own sentences in the published formats of the data sets. */

import { fileURLToPath } from "node:url";

/** Returns the path of a fixture file. */
export function taskFile(name: string): string {
  return fileURLToPath(new URL(`../fixtures/tasks/${name}`, import.meta.url));
}
