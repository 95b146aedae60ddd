/**
 * `deno task build`: compiles the AssemblyScript kernels in src/device/cpu/assembly into the two WebAssembly modules that the
 * `cpu` backend loads:
 *
 * - build/kernels.wasm imports a shared memory, for a pool of worker threads;
 * - build/kernels_single.wasm imports an unshared memory, for environments without threads.
 *
 * The declarations of the kernels in src/device/kernels are sources too, because the classes of the arguments come from them. A
 * module that is at least as new as its newest source is not compiled again. Several builds may run at the same time,
 * because each writes its own temporary file and renames it. If compilation fails, the errors are printed as file:line:column
 * and the exit status is 1.
 */

import asc from "assemblyscript/asc";
import { argumentClasses } from "./argument_classes.ts";
import { twinExports } from "./twin_exports.ts";

const ROOT = new URL("../", import.meta.url);
const SOURCES = new URL("src/device/cpu/assembly/", ROOT);
const DECLARATIONS = new URL("src/device/kernels/", ROOT), BUILD = new URL("build/", ROOT);

/** The name of the entry point, relative to which its imports are resolved. */
const ENTRY = "src/device/cpu/assembly/index.ts";
/** The classes of the arguments of all kernels, which have no file either. */
const ARGUMENTS = "src/device/cpu/assembly/args.ts";

/** 65536 pages are 4 GiB, which is all the memory that wasm32 can address. */
const MAXIMUM_PAGES = "65536";

/**
 * The options of both modules. -O2 is used because -O3 interleaves the steps of unrolled loops. The micro-kernel of the matrix
 * product then spills its accumulators from registers and is a third slower. The initial memory is one page, because an engine
 * that checks bounds can omit the check for constant offsets below the initial size.
 */
const COMMON_OPTIONS = [
  ENTRY,
  ...["--runtime", "stub"],
  ...["--enable", "simd", "--enable", "relaxed-simd", "--enable", "threads"],
  ...["--importMemory", "--initialMemory", "1", "--maximumMemory", MAXIMUM_PAGES],
  ...["-O2", "--noAssert"],
];

const MODULES: readonly { file: string; flags: readonly string[] }[] = [
  { file: "kernels.wasm", flags: ["--sharedMemory"] },
  { file: "kernels_single.wasm", flags: [] },
];

async function sourcesIn(folder: URL): Promise<string[]> {
  const names: string[] = [];
  for await (const { name } of Deno.readDir(folder)) if (name.endsWith(".ts")) names.push(name);
  return names.sort();
}

/** Returns a folder and the folders in it. */
async function foldersWithin(folder: URL): Promise<URL[]> {
  const folders = [folder];
  for await (const { name, isDirectory } of Deno.readDir(folder)) {
    if (isDirectory) folders.push(new URL(`${name}/`, folder));
  }
  return folders;
}

/** The entry point of the modules, which has no file: the twin of every kernel, and the functions that the backend itself calls. */
async function entryPoint(): Promise<string> {
  const exports = [...await sourcesIn(SOURCES), "shared/instance.ts", "shared/transfer.ts"];
  const twins = exports.map(async (name) =>
    twinExports(name, await Deno.readTextFile(new URL(name, SOURCES)))
  );
  const shared = [
    'import { ceil_divide, row_items, rows_per_item } from "./shared/items";',
    'export { set_library } from "./shared/library";',
  ];
  return [...shared, ...await Promise.all(twins)].join("\n");
}

/** Returns the time at which `path` was last modified, in ms since 1970, or 0 if it does not exist. */
async function modifiedAt(path: URL): Promise<number> {
  try {
    return (await Deno.stat(path)).mtime?.getTime() ?? 0;
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return 0;
    throw error;
  }
}

/**
 * Returns the modification time of the newest source, in ms since 1970. The folders count as sources, because the time of a
 * folder changes when a file in it is deleted.
 */
async function newestSourceTime(): Promise<number> {
  const generators = ["build_wasm.ts", "argument_classes.ts", "twin_exports.ts"];
  const sources = generators.map((name) => new URL(name, import.meta.url));
  for (const folder of [...await foldersWithin(SOURCES), ...await foldersWithin(DECLARATIONS)]) {
    sources.push(folder, ...(await sourcesIn(folder)).map((name) => new URL(name, folder)));
  }
  return Math.max(...await Promise.all(sources.map(modifiedAt)));
}

/** Rewrites `in file(line,column)` in the compiler's messages as `at file:line:column`, which editors recognise as a link. */
function withLinks(messages: string): string {
  return messages.replace(/ in (\S+\.ts)\((\d+),(\d+)\)/g, " at $1:$2:$3");
}

/**
 * Compiles one module and writes it to `target` with the modification time `time` (ms since 1970). The caller passes the time of
 * the newest source. A source that is edited during compilation is then newer than the module, so the next build compiles again.
 * @returns undefined, or the compiler's messages if compilation failed
 */
async function compile(target: URL, flags: readonly string[], time: number): Promise<string | undefined> {
  let module: Uint8Array | undefined;
  const { KERNELS } = await import("../src/device/kernels/kernels.ts"); // a build that is up to date loads none
  const generated: Readonly<Record<string, () => string | Promise<string>>> = {
    [ENTRY]: entryPoint,
    [ARGUMENTS]: () => argumentClasses(KERNELS),
  };
  const { error, stderr } = await asc.main([...COMMON_OPTIONS, ...flags, "--outFile", "module.wasm"], {
    writeFile: (name: string, contents: string | Uint8Array) => {
      if (name.endsWith(".wasm") && typeof contents !== "string") module = contents;
    },
    readFile: (name: string) =>
      generated[name]?.() ?? Deno.readTextFile(new URL(name, ROOT)).catch(() => null),
    listFiles: () => null,
  });
  if (error || !module) return withLinks(stderr.toString()) || String(error);
  const temporary = new URL(`${target.href}.${crypto.randomUUID()}`);
  await Deno.writeFile(temporary, module);
  await Deno.utime(temporary, new Date(time), new Date(time));
  await Deno.rename(temporary, target);
}

const newest = await newestSourceTime();
await Deno.mkdir(BUILD, { recursive: true });
for (const { file, flags } of MODULES) {
  const target = new URL(file, BUILD);
  if (await modifiedAt(target) >= newest) continue;
  const failure = await compile(target, flags, newest);
  if (failure) {
    console.error(failure);
    Deno.exit(1);
  }
  // Standard output belongs to the command that the task runs afterwards.
  console.error(`build/${file}: ${(await Deno.stat(target)).size} bytes`);
}
