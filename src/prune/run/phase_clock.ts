/**
 * Measures where the time of pruning a model goes. A run is divided into phases: calibration, the exchange with the host (the server that
 * solves the layers), the phases that the host reports, writing, and evaluation. Times are wall-clock seconds as the client sees them. A
 * layer is stored while the next one is solved, so the phases may add up to more than the time of the run.
 */

import type { ModelSource } from "../../client/model_source.ts";
import type { Report } from "../../protocol/messages.ts";

/** The phases of a run, in order. `send` is the time of the HTTP exchanges without `read`, `factor` and `solve`, which the host reports. */
export const PHASES = ["calibrate", "send", "read", "factor", "solve", "write", "evaluate"] as const;

export type Phase = (typeof PHASES)[number];

/** The seconds between two calls of {@link PhaseClock.lap}, divided into two parts. */
export interface Lap {
  /** Seconds in which the model source computed calibration statistics. */
  readonly calibration: number;
  /** All other seconds of the lap: solving layers and writing them. */
  readonly layers: number;
}

/** A stopwatch that adds up seconds by phase and starts when it is constructed. */
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
  #lapStart = performance.now();
  #calibrateAtLapStart = 0;

  /** Runs `task` and adds the time it takes to `phase`, even if it throws. */
  async time<T>(phase: Phase, task: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await task();
    } finally {
      this.seconds[phase] += (performance.now() - started) / 1000;
    }
  }

  /**
   * Wraps `fetch` so that the time of each exchange is added to `send`. Call {@link charge} to move the time
   * of the host's phases out of `send`.
   */
  timedFetch(fetch: (request: Request) => Promise<Response>): (request: Request) => Promise<Response> {
    return (request) =>
      this.time("send", async () => {
        const response = await fetch(request);
        // Receiving the body is part of the exchange, so the body is read while the clock runs.
        return new Response(await response.arrayBuffer(), response);
      });
  }

  /** Moves the seconds that the host reports for one layer from `send` to the phases `read`, `factor` and `solve`. */
  charge({ seconds }: Report): void {
    for (const phase of ["read", "factor", "solve"] as const) {
      this.seconds[phase] += seconds[phase];
      this.seconds.send -= seconds[phase];
    }
  }

  /** Takes the seconds of a reconstruction, which runs while the next group is produced, out of `calibrate` and out of the lap. */
  excludeReconstruction(seconds: number): void {
    this.seconds.calibrate -= seconds;
    this.#lapStart += 1000 * seconds;
  }

  /** Takes the seconds of solves that run while the next group is produced out of `calibrate`. */
  excludeSolve(seconds: number): void {
    this.seconds.calibrate -= seconds;
  }

  /** Wraps `source` so that the time it takes to produce each group is added to `calibrate`. */
  timeCalibration<Hessian>(source: ModelSource<Hessian>): ModelSource<Hessian> {
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

  /** Ends the current lap and starts the next. The first lap starts with the clock. */
  lap(): Lap {
    const now = performance.now();
    const calibration = this.seconds.calibrate - this.#calibrateAtLapStart;
    const layers = Math.max(0, (now - this.#lapStart) / 1000 - calibration);
    this.#lapStart = now;
    this.#calibrateAtLapStart = this.seconds.calibrate;
    return { calibration, layers };
  }
}
