/**
 * Checks that every kernel has its files, which share one name: declaration, shader, CPU version and float64 reference. A file of
 * `tests/device/kernels` must import the declaration.
 * A file of `src/device/kernels` declares kernels if it calls `defineKernel`. The shared code of shaders and CPU versions is in
 * folders called `shared`.
 */

/** The folder with the tests of all kernels. */
const TESTS = "tests/device/kernels";

/** A kernel may have a second shader with another tiling. The name of that file ends in this suffix. */
const VARIANT = /_(software|packed|tiled)$/;

/** Returns the paths of the files below `src/device/kernels` that declare kernels, in alphabetical order. */
export async function declarationFiles(root: string, folder = "src/device/kernels"): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isDirectory } of Deno.readDir(`${root}/${folder}`)) {
    const path = `${folder}/${name}`;
    if (isDirectory) found.push(...await declarationFiles(root, path));
    else if (name.endsWith(".ts") && /\bdefineKernel\(\{/.test(await Deno.readTextFile(`${root}/${path}`))) {
      found.push(path);
    }
  }
  return found.sort();
}

/** Returns one message for each missing file of a kernel, and one for each file that belongs to no declared kernel. */
export async function kernelProblems(root: string): Promise<string[]> {
  const declarations = (await declarationFiles(root)).map((path) => path.replace(/.*\/|\.ts$/g, ""));
  const problems: string[] = [];
  const patterns = [
    "shaders/STEM.wgsl",
    "src/device/cpu/assembly/STEM.ts",
    "tests/reference/kernels/STEM.ts",
  ];
  for (const pattern of patterns) {
    const [, folder, suffix] = pattern.match(/(.*)\/STEM(.*)/)!,
      found = await stems(`${root}/${folder}`, suffix);
    const report = (stem: string, problem: string) =>
      problems.push(`${pattern.replace("STEM", stem)}: ${problem}`);
    for (const stem of declarations) if (!found.includes(stem)) report(stem, "is missing");
    for (const stem of found) {
      if (!declarations.includes(stem.replace(VARIANT, ""))) {
        report(stem, "src/device/kernels has no declaration of this name");
      }
    }
  }
  const tests = await textsIn(`${root}/${TESTS}`);
  for (const stem of declarations) {
    if (!tests.includes(`/${stem}.ts"`)) problems.push(`${TESTS}: has no test of ${stem}.ts`);
  }
  return problems;
}

/** Returns the texts of all files in `folder`, one after another. */
async function textsIn(folder: string): Promise<string> {
  const texts: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile) texts.push(await Deno.readTextFile(`${folder}/${name}`));
  }
  return texts.join("\n");
}

/** Returns the names of the files in `folder` that end in `suffix`, without the suffix. */
async function stems(folder: string, suffix: string): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile && name.endsWith(suffix)) found.push(name.slice(0, -suffix.length));
  }
  return found;
}
