/** The name of the `cpu` backend's adapter, which says how fast the backend is on this machine. */

import { pairsInstructions } from "./instruction_pairing.ts";

const NAME = "WebAssembly SIMD";

/** Returns the name for a backend with `threads` worker threads in this process. */
export function adapterName(threads: number): string {
  const pairs = pairsInstructions() ? " in pairs" : "";
  const workers = threads === 0 ? "on the calling thread" : threads === 1 ? "1 thread" : `${threads} threads`;
  return `${NAME}${pairs}, ${workers}`;
}

/**
 * Returns the part of an adapter's name on which results depend. Paired instructions and the number of threads change the speed of the
 * backend but no bit of its results, because every sum has a fixed order.
 */
export function roundingName(name: string): string {
  return name.startsWith(NAME) ? NAME : name;
}
