/** The zero-shot example files in `tests/fixtures/tasks`. They have the formats of public data sets but the project's own sentences. */

import { fileURLToPath } from "node:url";

/** The path of an example file. */
export function taskFile(name: string): string {
  return fileURLToPath(new URL(`../fixtures/tasks/${name}`, import.meta.url));
}
