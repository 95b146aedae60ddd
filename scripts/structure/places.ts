/** Checks that some libraries and globals are used in a few folders only. */

import { isWithin, type SourceFile } from "./imports.ts";

interface Place {
  readonly name: string;
  readonly folders: readonly string[];
  readonly isUsed: (file: SourceFile) => boolean;
}

const PLACES: readonly Place[] = [
  {
    name: "hono",
    folders: ["routes", "src/edge", "src/pages", "src/prune/report"],
    isUsed: ({ libraries }) => libraries.some((library) => /^(npm:)?(hono|@hono\/)/.test(library)),
  },
  {
    name: "the Deno global",
    folders: [
      "routes/serve.ts",
      "routes/key_settings.ts",
      "src/host/backends.ts",
      "src/host/listen.ts",
      "src/host/listener.ts",
      "src/cli",
      "src/device/cpu",
      "src/device/webgpu",
    ],
    isUsed: ({ code }) => /\bDeno\./.test(code),
  },
];

/** Folders in which everything may be used. */
const FREE = ["scripts", "tests"];

/** Returns one message for each file that uses such a library or global outside its folders. */
export function placeProblems(files: ReadonlyMap<string, SourceFile>): string[] {
  return [...files.values()].filter(({ path }) => !FREE.some((folder) => isWithin(path, folder))).flatMap(
    (file) =>
      PLACES.filter(({ folders, isUsed }) => !folders.some((f) => isWithin(file.path, f)) && isUsed(file))
        .map(
          ({ name, folders }) => `${file.path}: ${name} belongs in ${folders.join(", ")}`,
        ),
  );
}
