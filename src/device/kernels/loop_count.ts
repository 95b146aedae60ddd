/**
 * Counts the loop iterations of a shader in the worst case. The software adapter llvmpipe of Mesa 22.3 ends all loops
 * of an invocation early after 65,535 iterations, without an error. llvmpipe runs 4 to 16 invocations as the elements
 * of one vector. A loop runs as often as the invocation that needs the most iterations, and a loop that no invocation
 * needs still counts one iteration. The counts here follow the same rules.
 */

/** The iterations after which llvmpipe ends loops early (LP_MAX_TGSI_LOOP_ITERATIONS in Mesa's source). */
export const MAX_LOOP_ITERATIONS = 65_535;

export interface LoopCount {
  /** The iterations in the worst case. */
  readonly iterations: number;
  /** The iterations if no invocation needs the loops, which is the number of loops, inner loops included. */
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
 * The count of a loop of `trips` iterations that contains the loops `body`. The check that ends the loop counts as one
 * more iteration, in which the inner loops are skipped.
 */
export function loop(trips: number, ...body: readonly LoopCount[]): LoopCount {
  const { iterations, skipped } = sequence(...body);
  return { iterations: trips * (1 + iterations) + 1 + skipped, skipped: 1 + skipped };
}

/** The count of a loop in which iteration i contains the inner loops bodies[i]. */
export function loopOver(bodies: readonly LoopCount[]): LoopCount {
  const skipped = 1 + Math.max(0, ...bodies.map((body) => body.skipped));
  return { iterations: bodies.length + sequence(...bodies).iterations + skipped, skipped };
}
