/**
 * Measures where the time of a way to prune goes, in wall-clock seconds as the client sees them. A layer is stored while the next one is
 * solved, so the phases may add up to more than the time of the run.
 */

import type { Report } from "../../src/protocol/messages.ts";

/** The phases of a run, in order. `send` is the time of the HTTP exchanges without `read`, `factor` and `solve`, which the host reports. */
export const PHASES = ["calibrate", "send", "read", "factor", "solve", "write", "evaluate"] as const;

export type Phase = (typeof PHASES)[number];

/** A stopwatch that adds up seconds by phase. */
export class PhaseClock {
  readonly seconds = Object.fromEntries(PHASES.map((phase) => [phase, 0])) as Record<Phase, number>;

  /** Runs `task` and adds the time it takes to `phase`, even if it throws. */
  async time<T>(phase: Phase, task: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await task();
    } finally {
      this.seconds[phase] += (performance.now() - started) / 1000;
    }
  }

  /** Sends a request, receives the body of its answer, and adds the time to `send`. */
  readonly fetch = (request: Request): Promise<Response> =>
    this.time("send", async () => {
      const response = await fetch(request);
      return new Response(await response.arrayBuffer(), response);
    });

  /** Moves the seconds that the host reports for one layer from `send` to the phases `read`, `factor` and `solve`. */
  charge({ seconds }: Report): void {
    for (const phase of ["read", "factor", "solve"] as const) {
      this.seconds[phase] += seconds[phase];
      this.seconds.send -= seconds[phase];
    }
  }
}
