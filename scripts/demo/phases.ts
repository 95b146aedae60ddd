/** Where the time of a run goes, by phase, as its client sees it. */

import type { Report } from "../../src/protocol/report.ts";
import type { ModelSource } from "../../src/client/model_source.ts";

/** The phases of a run, in order. `send` is what HTTP takes beyond the host's own phases. */
export const PHASES = ["calibrate", "send", "read", "factor", "solve", "write", "evaluate"] as const;

/** A phase of a run. */
export type Phase = (typeof PHASES)[number];

/** Seconds by phase. */
export class PhaseClock {
  readonly seconds: Record<Phase, number> = {
    calibrate: 0,
    send: 0,
    read: 0,
    factor: 0,
    solve: 0,
    write: 0,
    evaluate: 0,
  };

  /** Runs `task` and adds its time to `phase`. */
  async time<T>(phase: Phase, task: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await task();
    } finally {
      this.seconds[phase] += (performance.now() - started) / 1000;
    }
  }

  /** A global `fetch` whose time counts as `send` until {@link charge} says what of it was the host's. */
  readonly fetch = (request: Request): Promise<Response> =>
    this.time("send", async () => {
      const response = await fetch(request);
      // The body is part of the exchange: it is read here, where the clock runs.
      return new Response(await response.arrayBuffer(), response);
    });

  /** Moves the host's phases of one layer out of `send`. */
  charge({ seconds }: Report): void {
    for (const phase of ["read", "factor", "solve"] as const) {
      this.seconds[phase] += seconds[phase];
      this.seconds.send -= seconds[phase];
    }
  }

  /** `source`, with the time it takes to make each group counted as `calibrate`. */
  calibrating(source: ModelSource): ModelSource {
    const time = this.time.bind(this);
    return {
      layerCount: source.layerCount,
      async *groups() {
        const groups = source.groups();
        try {
          for (;;) {
            const next = await time("calibrate", () => groups.next());
            if (next.done) return;
            yield next.value;
          }
        } finally {
          await groups.return();
        }
      },
    };
  }
}
