/** Finds cycles of files that import each other. Type-only imports count as well. */

import type { SourceFile } from "./imports.ts";

/** Returns one message per cycle. The message names the files of the cycle, each before the file that it imports. */
export function cycleProblems(files: ReadonlyMap<string, SourceFile>): string[] {
  const done = new Set<string>();
  const trail: string[] = [];
  const problems: string[] = [];
  const visit = (path: string) => {
    const start = trail.indexOf(path);
    if (start >= 0) {
      problems.push(`import cycle: ${[...trail.slice(start), path].join(" → ")}`);
      return;
    }
    if (done.has(path)) return;
    trail.push(path);
    for (const target of files.get(path)?.imports ?? []) visit(target);
    trail.pop();
    done.add(path);
  };
  for (const path of files.keys()) visit(path);
  return problems;
}
