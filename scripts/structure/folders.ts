/** Folders a reader can take in at a glance: at most 20 files side by side, and a README where there are more than ten. */

/** More files than this in one folder must be arranged into subfolders. */
const MAX_FILES = 20;
/** A room with more files than this, subfolders included, has a README. */
const MAX_FILES_WITHOUT_README = 10;
/** The kernels' twins have one file per kernel and shared parts. */
const MAY_BE_LARGE = ["src/cpu/assembly"];

/** One line per folder that is too full, and per room that lacks a README. */
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
    problems.push(`${folder}: has ${files} files side by side, at most ${MAX_FILES}`);
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
