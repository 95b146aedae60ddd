/** The name of the `cpu` backend's adapter, which says how fast the backend is on this machine. */

import { pairsInstructions } from "./instruction_pairing.ts";

const PAIRED = " in pairs";

/**
 * Returns the name for a backend with `threads` worker threads in this process.
 * @param blas the name of the library that multiplies matrices, if one is used
 */
export function adapterName(threads: number, blas?: string): string {
  const pairs = pairsInstructions() ? PAIRED : "";
  const library = blas === undefined ? "" : ` with ${blas}`;
  const workers = threads === 0 ? "on the calling thread" : threads === 1 ? "1 thread" : `${threads} threads`;
  return `WebAssembly SIMD${pairs}${library}, ${workers}`;
}

/**
 * Returns the part of an adapter's name on which results depend. A BLAS library changes bits. Paired
 * instructions and the number of threads change only the speed of the backend, because every sum has a fixed
 * order.
 */
export function roundingName(name: string): string {
  return name.replace(PAIRED, "").replace(/,[^,]*$/, "");
}
