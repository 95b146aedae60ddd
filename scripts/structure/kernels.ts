/** Checks that every kernel has its four files, which share one name: declaration, shader, CPU version and test. */

/** Files in src/kernels that do not declare a kernel. */
const NOT_DECLARATIONS = ["column_loop", "kernel", "kernels", "loop_count"];
/** AssemblyScript files that are not the CPU version of one kernel: helpers of several kernels, and the entry point `index`. */
const SHARED_ASSEMBLY = [
  "attention_block",
  "column_loop",
  "digits",
  "exp",
  "float16",
  "gemm_pack",
  "gemm_sparse",
  "index",
  "items",
  "lanes",
  "mask_bits",
  "micro_kernel_4x16",
  "micro_kernel_4x8",
  "pairing",
  "blas",
  "prune_bundle",
  "quantization_grid",
  "rounding",
  "scratch",
  "select_keys",
  "transfer",
  "transpose",
];
/** A kernel may have a second shader with another tiling. The name of that file ends in this suffix. */
const VARIANT = /_(software|packed|tiled)$/;
/** Tests in tests/kernels that do not belong to one kernel. */
const NOT_KERNEL_TESTS: readonly string[] = ["loop_count", "on_dawn_slow"];

/** Returns one message for each missing file of a kernel, and one for each file that belongs to no declared kernel. */
export async function kernelProblems(root: string): Promise<string[]> {
  const declarations = await stems(`${root}/src/kernels`, ".ts", NOT_DECLARATIONS);
  for await (const { name, isDirectory } of Deno.readDir(`${root}/src/kernels`)) {
    if (isDirectory) declarations.push(...await stems(`${root}/src/kernels/${name}`, ".ts", []));
  }
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

/** Returns the names of the files in `folder` that end in `suffix`. The suffix is removed, and the names in `except` are left out. */
async function stems(folder: string, suffix: string, except: readonly string[] = []): Promise<string[]> {
  const found: string[] = [];
  for await (const { name, isFile } of Deno.readDir(folder)) {
    if (isFile && name.endsWith(suffix)) found.push(name.slice(0, -suffix.length));
  }
  return found.filter((stem) => !except.includes(stem));
}
