/** Temporary folders for tests that write files. */

import { after } from "@std/testing/bdd";

/** Creates an empty folder, and removes it after the tests of the file or of the `describe` that calls this function. */
export function temporaryFolder(): string {
  const folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "pare-test-" }));
  after(() => Deno.remove(folder, { recursive: true }));
  return folder;
}

/** Runs `body` with the path of an empty folder, and removes the folder afterwards. */
export async function withTemporaryFolder<T>(body: (folder: string) => Promise<T>): Promise<T> {
  const folder = await Deno.makeTempDir({ prefix: "pare-test-" });
  try {
    return await body(folder);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}
