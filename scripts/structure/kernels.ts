/** A kernel is four files with one stem: declaration, shader, CPU twin and test. */

/** Files in the kernels' folders that are no kernels. */
const NOT_DECLARATIONS = ["kernel", "kernels", "loop_count"];
/** AssemblyScript that several twins share, and the modules' entry. */
const SHARED_ASSEMBLY = [
  "attention_block",
  "exp",
  "float16",
  "gemm_pack",
  "gemm_sparse",
  "index",
  "items",
  "lanes",
  "micro_kernel_4x16",
  "micro_kernel_4x8",
  "pairing",
  "prune_bundle",
  "rounding",
  "scratch",
  "transfer",
  "transpose",
];
/** A further tiling of a kernel's shader ends in one of these. */
const VARIANT = /_software$/;
/** A test may be about one aspect of a kernel. */
const NOT_KERNEL_TESTS: readonly string[] = ["loop_count"];

/** One line per missing file of a kernel, and per kernel file that has no declaration. */
export async function kernelProblems(root: string): Promise<string[]> {
  const declarations = await stems(`${root}/src/kernels`, ".ts", NOT_DECLARATIONS);
  const others = {
    "shaders/STEM.wgsl": await stems(`${root}/shaders`, ".wgsl"),
    "src/cpu/assembly/STEM.ts": await stems(`${root}/src/cpu/assembly`, ".ts", SHARED_ASSEMBLY),
    "tests/kernels/STEM_test.ts": await stems(`${root}/tests/kernels`, "_test.ts", NOT_KERNEL_TESTS),
  };
  return Object.entries(others).flatMap(([pattern, found]) => [
    ...declarations.filter((stem) => !found.includes(stem)).map((stem) =>
      `src/kernels/${stem}.ts: ${pattern.replace("STEM", stem)} is missing`
    ),
    ...found.filter((stem) => !declarations.includes(stem.replace(VARIANT, ""))).map((stem) =>
      `${pattern.replace("STEM", stem)}: src/kernels has no declaration of this name`
    ),
  ]);
}

/** Names of the files in `folder` that end in `suffix`, without it and without `except`. */
async function stems(folder: string, suffix: string, except: readonly string[] = []): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile && name.endsWith(suffix)) found.push(name.slice(0, -suffix.length));
  }
  return found.filter((stem) => !except.includes(stem));
}
