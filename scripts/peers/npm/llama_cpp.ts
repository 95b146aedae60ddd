/**
 * Installs and starts llama.cpp, the program that runs GGUF files, as the prebuilt library of the package `node-llama-cpp` for processors. The
 * package is not in the import map, because with its optional libraries for GPUs it takes 700 MB. Also installs wllama, the build of llama.cpp
 * for browsers.
 */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../../processes/line_process.ts";

const VERSION = "3.22.1", WLLAMA_VERSION = "3.13.0";

/** The folder in which npm installs the packages. */
const LLAMA_CPP = fileURLToPath(new URL("../../../.cache/llama-cpp", import.meta.url));

/** The package of the library for this machine. */
const LIBRARY = `@node-llama-cpp/${Deno.build.os === "darwin" ? "mac" : "linux"}-${
  Deno.build.arch === "x86_64" ? "x64" : Deno.build.os === "darwin" ? "arm64-metal" : "arm64"
}`;

/** The folder of the libraries in this package. */
export const LLAMA_LIBRARIES = `${LLAMA_CPP}/node_modules/${LIBRARY}/bins/${LIBRARY.split("/")[1]}`;

/** The folder of wllama that a page loads. */
export const WLLAMA = `${LLAMA_CPP}/node_modules/@wllama/wllama/esm`;

/** The arguments with which npm installs both. The scripts of packages, which would compile llama.cpp, do not run. */
export const INSTALL_LLAMA_CPP: readonly string[] = [
  ...["install", "--prefix", LLAMA_CPP, "--ignore-scripts", "--omit=optional", "--no-audit", "--no-fund"],
  ...[`node-llama-cpp@${VERSION}`, `${LIBRARY}@${VERSION}`, `@wllama/wllama@${WLLAMA_VERSION}`],
];

/** Returns the reason why llama.cpp cannot be used, or undefined if it can. */
export const llamaCppSkipReason = () => missingFolder(`${LLAMA_CPP}/node_modules/${LIBRARY}`);

/** Returns the reason why wllama cannot be used, or undefined if it can. */
export const wllamaSkipReason = () => missingFolder(WLLAMA);

async function missingFolder(path: string): Promise<string | undefined> {
  try {
    await Deno.stat(path);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
    return "llama.cpp is missing; `deno task venv llama-cpp` installs it";
  }
}

/** A running llama.cpp, which answers the requests of `llama_cpp.mjs`. */
export class LlamaCpp {
  readonly #process: LineProcess;

  /** Starts the program. Call {@link stop} to end it. */
  constructor() {
    const path = fileURLToPath(new URL("llama_cpp.mjs", import.meta.url));
    this.#process = new LineProcess("node", [path, LLAMA_CPP], { env: { GGML_NO_BACKTRACE: "1" } });
  }

  /** Computes logits and tokens, and renders chats. @throws {Error} with the stack if the request fails */
  ask(request: LlamaCppRequest): Promise<LlamaCppAnswer> {
    return this.#process.ask(request);
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}

/** A chat: what each side says, in turn. */
export type Chat = readonly { readonly role: string; readonly content: string }[];

export interface LlamaCppRequest {
  /** The path of a GGUF file. */
  readonly file: string;
  readonly windows?: readonly (readonly number[])[];
  readonly texts?: readonly string[];
  readonly chats?: readonly Chat[];
}

export interface LlamaCppAnswer {
  /** The logits of all windows, (windows, tokens, vocabulary). */
  readonly logits: readonly number[][][];
  /** The tokens of each text. */
  readonly tokens: readonly number[][];
  /** The texts of the chats. */
  readonly chats: readonly string[];
}
