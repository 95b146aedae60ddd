/**
 * Finds out whether V8 pairs instructions. Pairing merges two neighbouring 128-bit SIMD instructions of a WebAssembly
 * module into one 256-bit instruction. V8 calls this revectorization, and it doubles the speed of the matrix products.
 *
 * V8 pairs instructions only on x86-64, and only for memory accesses without bounds checks. So the process needs two
 * flags: one that turns pairing on, and one that turns the checks off. A stray access of a kernel then ends the process
 * instead of throwing an error. The access cannot reach anything outside the WebAssembly memory, because a shared
 * memory reserves the whole 32-bit address range, and the unused part of the range is not mapped.
 *
 * The flags only take effect when the process starts. A program reads them in the variable DENO_V8_FLAGS.
 */

import { PAIRED } from "../backend.ts";

/** The V8 flags that a process must be started with. */
export const PAIRING_FLAGS = ["--experimental-wasm-revectorize", "--no-wasm-bounds-checks"];

/** Whether V8 pairs instructions in this process. False outside Deno. */
export function pairsInstructions(): boolean {
  if (typeof Deno === "undefined") return false;
  const flags = (Deno.env.get("DENO_V8_FLAGS") ?? "").split(",");
  return Deno.build.arch === "x86_64" && PAIRING_FLAGS.every((flag) => flags.includes(flag));
}

/**
 * Returns the name for a backend with `threads` worker threads in this process.
 * @param library the name of the library that multiplies matrices, if one is used
 */
export function adapterName(threads: number, library?: string): string {
  const pairs = pairsInstructions() ? PAIRED : "";
  const products = library === undefined ? "" : ` with ${library}`;
  const workers = threads === 0 ? "on the calling thread" : threads === 1 ? "1 thread" : `${threads} threads`;
  return `WebAssembly SIMD${pairs}${products}, ${workers}`;
}
