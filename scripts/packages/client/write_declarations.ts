/**
 * Writes the declarations of the SDK's types with the TypeScript compiler, one file per source file. Deno's bundler
 * could write all declarations into one file, but that file would also declare functions that the SDK does not export.
 */

import { dirname, join } from "node:path";
import { ROOT } from "../command/places.ts";

/** The compiler. It runs from Deno's cache instead of node_modules. */
const TYPESCRIPT = "npm:typescript@5.9.3/tsc";

/**
 * The options of the compiler. It uses the types of browsers instead of Deno's, and refuses TypeScript syntax that Node
 * cannot strip, so it also checks that the sources run everywhere.
 */
const COMPILER_OPTIONS = {
  strict: true,
  target: "es2022",
  module: "esnext",
  moduleResolution: "bundler",
  lib: ["esnext", "dom"],
  types: [],
  allowImportingTsExtensions: true,
  declaration: true,
  emitDeclarationOnly: true,
  rootDir: `${ROOT}/src`,
  skipLibCheck: true,
  erasableSyntaxOnly: true,
  verbatimModuleSyntax: true,
};

/** The file with the declarations of `src/client/mod.ts`, relative to the folder of all declarations. */
export const MAIN_DECLARATION = "client/mod.d.ts";

/** The specifier of an import of another file of the SDK, such as `from "../errors.ts"`. */
const RELATIVE_IMPORT = /(from |import\()"(\.[^"]+)\.ts"/g;

/**
 * Writes the declarations of `src/client/mod.ts`, and of the files that its declarations import, into `folder`.
 * @throws {Error} with the messages of the compiler if it fails
 */
export async function writeDeclarations(folder: string): Promise<void> {
  const temporary = await Deno.makeTempDir({ prefix: "pare-types-" });
  try {
    await compile(temporary);
    await copyReachable(`${temporary}/out`, folder);
  } finally {
    await Deno.remove(temporary, { recursive: true });
  }
}

async function compile(folder: string): Promise<void> {
  const configuration = {
    compilerOptions: { ...COMPILER_OPTIONS, outDir: `${folder}/out` },
    files: [`${ROOT}/src/client/mod.ts`],
  };
  await Deno.writeTextFile(`${folder}/tsconfig.json`, JSON.stringify(configuration));
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--no-config", TYPESCRIPT, "-p", `${folder}/tsconfig.json`],
    env: { NO_COLOR: "1" },
  }).output();
  const text = new TextDecoder();
  if (!success) {
    throw new Error(`declarations of src/client/mod.ts: ${text.decode(stdout)}${text.decode(stderr)}`);
  }
}

/** Copies the main declaration file and all files that it imports, even indirectly. Other files describe internals. */
async function copyReachable(from: string, to: string): Promise<void> {
  const pending = [MAIN_DECLARATION], found = new Set(pending);
  for (let path = pending.pop(); path !== undefined; path = pending.pop()) {
    const text = await Deno.readTextFile(`${from}/${path}`);
    for (const [, , specifier] of text.matchAll(RELATIVE_IMPORT)) {
      const target = `${join(dirname(path), specifier)}.d.ts`;
      if (!found.has(target)) pending.push(target);
      found.add(target);
    }
    await Deno.mkdir(dirname(`${to}/${path}`), { recursive: true });
    await Deno.writeTextFile(`${to}/${path}`, text.replaceAll(RELATIVE_IMPORT, '$1"$2.js"'));
  }
}
