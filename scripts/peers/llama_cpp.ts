/**
 * Installs llama.cpp, the program that runs GGUF files, as the prebuilt library of the package `node-llama-cpp` for processors. The
 * package is not in the import map, because with its optional libraries for GPUs it takes 700 MB.
 */

import { fileURLToPath } from "node:url";

const VERSION = "3.22.1";

/** The folder in which npm installs the package. */
export const LLAMA_CPP = fileURLToPath(new URL("../../.cache/llama-cpp", import.meta.url));

/** The package of the library for this machine. */
const LIBRARY = `@node-llama-cpp/${Deno.build.os === "darwin" ? "mac" : "linux"}-${
  Deno.build.arch === "x86_64" ? "x64" : Deno.build.os === "darwin" ? "arm64-metal" : "arm64"
}`;

/** The folder of the libraries in this package. */
export const LLAMA_LIBRARIES = `${LLAMA_CPP}/node_modules/${LIBRARY}/bins/${LIBRARY.split("/")[1]}`;

/** The arguments with which npm installs llama.cpp. The scripts of packages, which would compile it, do not run. */
export const INSTALL_LLAMA_CPP: readonly string[] = [
  ...["install", "--prefix", LLAMA_CPP, "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"],
  ...[`node-llama-cpp@${VERSION}`, `${LIBRARY}@${VERSION}`],
];

/** Returns the reason why llama.cpp cannot be used, or undefined if it can. */
export async function llamaCppSkipReason(): Promise<string | undefined> {
  try {
    await Deno.stat(`${LLAMA_CPP}/node_modules/${LIBRARY}`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return "llama.cpp is missing; `deno task venv llama-cpp` installs it";
  }
}
