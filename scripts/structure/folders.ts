/**
 * Checks the size of folders. A folder may have at most 20 files, not counting its subfolders. A room
 * (`routes`, or a folder of `src` or `scripts`) with more than ten files in all needs a README.
 */

/** The largest number of files in one folder. More files must be arranged into subfolders. */
const MAX_FILES = 20;
/** A room with more files than this, including those in subfolders, needs a README. */
const MAX_FILES_WITHOUT_README = 10;
/** These folders may have more files: one AssemblyScript file per kernel, one file per bench, and one results file per bench. */
const MAY_BE_LARGE = ["src/device/cpu/assembly", "scripts/bench", "scripts/bench/results"];

/** Returns one message for each folder with too many files, and one for each room that lacks a README. */
export async function folderProblems(root: string): Promise<string[]> {
  const problems: string[] = [];
  for (const top of ["src", "routes", "scripts"]) {
    await checkFolder(root, top, problems);
    for await (const { name, isDirectory } of Deno.readDir(`${root}/${top}`)) {
      if (isDirectory && top !== "routes") await checkReadme(root, `${top}/${name}`, problems);
    }
  }
  await checkReadme(root, "routes", problems);
  return problems;
}

async function checkFolder(root: string, folder: string, problems: string[]): Promise<void> {
  let files = 0;
  for await (const { name, isDirectory } of Deno.readDir(`${root}/${folder}`)) {
    if (isDirectory) await checkFolder(root, `${folder}/${name}`, problems);
    else files++;
  }
  if (files > MAX_FILES && !MAY_BE_LARGE.includes(folder)) {
    problems.push(`${folder}: has ${files} files, but at most ${MAX_FILES} are allowed`);
  }
}

async function checkReadme(root: string, room: string, problems: string[]): Promise<void> {
  const files = await countFiles(`${root}/${room}`);
  if (files <= MAX_FILES_WITHOUT_README) return;
  const hasReadme = await Deno.stat(`${root}/${room}/README.md`).then(() => true, () => false);
  if (!hasReadme) problems.push(`${room}: has ${files} files and no README.md`);
}

async function countFiles(folder: string): Promise<number> {
  let files = 0;
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    files += isDirectory ? await countFiles(`${folder}/${name}`) : 1;
  }
  return files;
}
