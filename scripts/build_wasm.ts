/**
 * Compiles the AssemblyScript kernels (src/cpu/assembly) into the two modules the `cpu` backend loads:
 *
 *   build/kernels.wasm         imports a shared memory, for a pool of worker threads
 *   build/kernels_single.wasm  imports a plain memory, for hosts without threads
 *
 * A module as new as its newest source is left alone. Two builds may run at once: each writes a file of its own
 * and renames it. Compile errors are printed as file:line and end the process with status 1.
 */

import asc from "assemblyscript/asc";

const ROOT = new URL("../", import.meta.url);
const SOURCES = new URL("src/cpu/assembly/", ROOT);
const BUILD = new URL("build/", ROOT);

/** 65536 pages are 4 GiB, all that wasm32 addresses. */
const MAXIMUM_PAGES = "65536";

/**
 * -O2: -O3 interleaves the steps of an unrolled loop, and the product's micro-kernel then spills its accumulators (a third
 * slower). One initial page, because an engine that checks accesses checks constant offsets below it for nothing.
 */
const COMMON = [
  "src/cpu/assembly/index.ts",
  ...["--runtime", "stub"],
  ...["--enable", "simd", "--enable", "relaxed-simd", "--enable", "threads"],
  ...["--importMemory", "--initialMemory", "1", "--maximumMemory", MAXIMUM_PAGES],
  ...["-O2", "--noAssert"],
];

const MODULES: readonly { file: string; flags: readonly string[] }[] = [
  { file: "kernels.wasm", flags: ["--sharedMemory"] },
  { file: "kernels_single.wasm", flags: [] },
];

/** When `path` was last written, in ms since 1970; 0 for a file that is not there. */
async function modified(path: URL): Promise<number> {
  try {
    return (await Deno.stat(path)).mtime?.getTime() ?? 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

/** When the newest input of the build was written. The folder's own time counts: it changes when a file goes away. */
async function newestSource(): Promise<number> {
  let newest = Math.max(await modified(new URL(import.meta.url)), await modified(SOURCES));
  for await (const entry of Deno.readDir(SOURCES)) {
    if (entry.name.endsWith(".ts")) newest = Math.max(newest, await modified(new URL(entry.name, SOURCES)));
  }
  return newest;
}

/** The compiler's messages with `ERROR … in file(line,column)` turned into `file:line:column`, which editors open. */
function withPlaces(messages: string): string {
  return messages.replace(/ in (\S+\.ts)\((\d+),(\d+)\)/g, " at $1:$2:$3");
}

/**
 * Compiles one module to `target` and dates it `time`, so that a source edited while the compiler runs is seen as newer.
 * @returns the compiler's messages when it failed
 */
async function compile(target: URL, flags: readonly string[], time: number): Promise<string | undefined> {
  let module: Uint8Array | undefined;
  const { error, stderr } = await asc.main([...COMMON, ...flags, "--outFile", "module.wasm"], {
    writeFile: (name: string, contents: string | Uint8Array) => {
      if (name.endsWith(".wasm") && typeof contents !== "string") module = contents;
    },
    readFile: (name: string) => Deno.readTextFile(new URL(name, ROOT)).catch(() => null),
    listFiles: () => null,
  });
  if (error || !module) return withPlaces(stderr.toString()) || String(error);
  const own = new URL(`${target.href}.${crypto.randomUUID()}`);
  await Deno.writeFile(own, module);
  await Deno.utime(own, new Date(time), new Date(time));
  await Deno.rename(own, target);
}

const newest = await newestSource();
await Deno.mkdir(BUILD, { recursive: true });
for (const { file, flags } of MODULES) {
  const target = new URL(file, BUILD);
  if (await modified(target) >= newest) continue;
  const failure = await compile(target, flags, newest);
  if (failure) {
    console.error(failure);
    Deno.exit(1);
  }
  console.log(`build/${file}: ${(await Deno.stat(target)).size} bytes`);
}
