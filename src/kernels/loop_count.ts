/**
 * Counts the loop iterations of a shader in the worst case, because some software adapters limit them. In Mesa 22.3, the Mesa of Debian
 * 12, an invocation on llvmpipe may run 65,535 iterations of all its loops together. After that every loop ends early, and the kernel
 * returns wrong numbers without an error. So a shader declares its count, and the WebGPU backend refuses a dispatch over the limit on a
 * software adapter.
 *
 * llvmpipe runs 4 to 16 invocations as the elements of one vector, and counts for the vector. A loop runs as often as the invocation that
 * needs it most, and a loop that no invocation needs is still entered once. The counts here follow the same rules.
 */

/** The iterations after which llvmpipe ends loops early (LP_MAX_TGSI_LOOP_ITERATIONS in Mesa's source). */
export const MAX_LOOP_ITERATIONS = 65_535;

/** The iterations of one or several loops. */
export interface LoopCount {
  /** In the worst case. */
  readonly iterations: number;
  /** If no invocation needs the loops: one for each. */
  readonly skipped: number;
}

/** The count of several loops, one after another. */
export function sequence(...loops: readonly LoopCount[]): LoopCount {
  let iterations = 0, skipped = 0;
  for (const loop of loops) {
    iterations += loop.iterations;
    skipped += loop.skipped;
  }
  return { iterations, skipped };
}

/**
 * The count of a loop of `trips` iterations with the loops `body` in it. The check that ends the loop counts as an iteration, in which
 * the loops of the body are skipped.
 */
export function loop(trips: number, ...body: readonly LoopCount[]): LoopCount {
  const { iterations, skipped } = sequence(...body);
  return { iterations: trips * (1 + iterations) + 1 + skipped, skipped: 1 + skipped };
}

/** The count of a loop whose iterations differ in the loops that they contain: one element of `bodies` for each iteration. */
export function loopOver(bodies: readonly LoopCount[]): LoopCount {
  const skipped = 1 + Math.max(0, ...bodies.map((body) => body.skipped));
  return { iterations: bodies.length + sequence(...bodies).iterations + skipped, skipped };
}
