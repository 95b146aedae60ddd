/** Folders a reader can take in at a glance: at most 20 files side by side. */

/** More files than this in one folder must be arranged into subfolders. */
const MAX_FILES = 20;
/** The kernels' twins have one file per kernel and shared parts. */
const MAY_BE_LARGE = ["src/cpu/assembly"];

/** One line per folder that is too full. */
export async function folderProblems(root: string): Promise<string[]> {
  const problems: string[] = [];
  for (const top of ["src", "routes", "scripts"]) {
    await checkFolder(root, top, problems);
  }
  return problems;
}

async function checkFolder(root: string, folder: string, problems: string[]): Promise<void> {
  let files = 0;
  for await (const { name, isDirectory } of Deno.readDir(`${root}/${folder}`)) {
    if (isDirectory) await checkFolder(root, `${folder}/${name}`, problems);
    else files++;
  }
  if (files > MAX_FILES && !MAY_BE_LARGE.includes(folder)) {
    problems.push(`${folder}: has ${files} files side by side, at most ${MAX_FILES}`);
  }
}
