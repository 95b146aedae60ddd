/** Reads the import lines of every TypeScript file of a checkout. */

/** A source file and its imports. */
export interface SourceFile {
  /** Path from the root of the checkout. */
  readonly path: string;
  /** Paths of the project's own files that it imports, types included. */
  readonly imports: readonly string[];
  readonly libraries: readonly string[];
  /** The text without comments. */
  readonly code: string;
}

/** The folders that are checked. AssemblyScript has rules of its own and is left out. */
const FOLDERS = ["src", "routes", "scripts", "tests"];
const LEFT_OUT = ["src/device/cpu/assembly", "tests/fixtures"];

const IMPORT =
  /^\s*(?:import|export)\b[^"';]*?\bfrom\s+"([^"]+)"|\bimport\(\s*"([^"]+)"|^\s*import\s+"([^"]+)"/gm;

/** Reads all source files of the checkout at `root`. The keys of the map are their paths. */
export async function readImports(root: string): Promise<ReadonlyMap<string, SourceFile>> {
  const files = new Map<string, SourceFile>();
  for (const folder of FOLDERS) {
    for await (const path of typescriptFiles(root, folder)) {
      files.set(path, parseFile(path, await Deno.readTextFile(`${root}/${path}`)));
    }
  }
  return files;
}

async function* typescriptFiles(root: string, folder: string): AsyncGenerator<string> {
  for await (const entry of Deno.readDir(`${root}/${folder}`)) {
    const path = `${folder}/${entry.name}`;
    if (LEFT_OUT.includes(path)) continue;
    if (entry.isDirectory) yield* typescriptFiles(root, path);
    else if (/\.tsx?$/.test(path)) yield path;
  }
}

function parseFile(path: string, text: string): SourceFile {
  const specifiers = [...text.matchAll(IMPORT)].map((match) => match[1] ?? match[2] ?? match[3]);
  return {
    path,
    imports: specifiers.filter((specifier) => specifier.startsWith(".")).map((s) => resolve(path, s)),
    libraries: specifiers.filter((specifier) => !specifier.startsWith(".")),
    code: text.replace(/\/\*[\s\S]*?\*\/|\/\/.*$/gm, ""),
  };
}

function resolve(from: string, specifier: string): string {
  return new URL(specifier, `file:///${from}`).pathname.slice(1);
}

/** Whether `path` is `folder` or lies below it. */
export function isWithin(path: string, folder: string): boolean {
  return path === folder || path.startsWith(folder + "/");
}
