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

/** Returns the sorted names of the files and folders in a folder. */
export function listNames(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map((entry) => entry.name).sort();
}

/** Reads every file in a folder and its subfolders. The keys are the paths relative to the folder, in order. */
export async function readFolder(root: string, below = ""): Promise<Map<string, Uint8Array>> {
  const files = new Map<string, Uint8Array>();
  for await (const { name, isDirectory } of Deno.readDir(root + below)) {
    const path = `${below}/${name}`;
    if (!isDirectory) files.set(path, await Deno.readFile(root + path));
    else for (const [inner, bytes] of await readFolder(root, path)) files.set(inner, bytes);
  }
  return new Map([...files].sort(([a], [b]) => a < b ? -1 : 1));
}
