/**
 * `deno task structure`: checks how the folders and files of the project depend on each other. It fails on
 *
 * - an import that no arrow of `src/README.md` allows (an arrow says that one folder may import another),
 * - a cycle between folders, or between files (type-only imports count),
 * - a declared kernel that lacks a shader, a CPU version, a reference or a test, or such a file without a declaration,
 * - a folder with too many files, or a large folder without a README,
 * - a library or a global that belongs in a few folders (hono, Deno, a concrete backend).
 *
 * The checks read import lines and never resolve types. `--root DIR` checks another checkout.
 */

import { parseArgs } from "node:util";
import { arrowProblems } from "./structure/arrows.ts";
import { cycleProblems } from "./structure/cycles.ts";
import { folderProblems } from "./structure/folders.ts";
import { readImports } from "./structure/imports.ts";
import { kernelProblems } from "./structure/kernels.ts";
import { placeProblems } from "./structure/places.ts";

const { root } = parseArgs({ options: { root: { type: "string", default: "." } } }).values;
const files = await readImports(root);
const problems = [
  ...arrowProblems(files),
  ...cycleProblems(files),
  ...placeProblems(files),
  ...await kernelProblems(root),
  ...await folderProblems(root),
];
for (const problem of problems.sort()) console.error(problem);
if (problems.length > 0) Deno.exit(1);
console.log(
  `structure: ${files.size} files follow the import arrows without cycles, and every kernel has its files`,
);
