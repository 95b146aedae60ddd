/** Divides the wall-clock time between the layers of a run into calibration and the rest. */

import type { ModelSource } from "../../client/model_source.ts";

/** The seconds between two calls of {@link LapClock.lap}, divided into two parts. */
export interface Lap {
  /** Seconds in which the model source computed calibration statistics. */
  readonly calibration: number;
  /** All other seconds of the lap: solving layers and writing them. */
  readonly layers: number;
}

/** A stopwatch that starts when it is constructed. */
export class LapClock {
  #calibration = 0;
  #lapStart = performance.now();

  /** Takes the seconds of a reconstruction, which runs while the next group is produced, out of the calibration and out of the lap. */
  excludeReconstruction(seconds: number): void {
    this.#calibration -= seconds;
    this.#lapStart += 1000 * seconds;
  }

  /** Takes the seconds of solves that run while the next group is produced out of the calibration. */
  excludeSolve(seconds: number): void {
    this.#calibration -= seconds;
  }

  /** Wraps `source` so that the time it takes to produce each group is added to the calibration, even if it throws. */
  timeCalibration<Hessian>(source: ModelSource<Hessian>): ModelSource<Hessian> {
    const next = async (groups: ReturnType<typeof source.groups>) => {
      const started = performance.now();
      try {
        return await groups.next();
      } finally {
        this.#calibration += (performance.now() - started) / 1000;
      }
    };
    return {
      layerCount: source.layerCount,
      async *groups() {
        const groups = source.groups();
        try {
          for (let group = await next(groups); !group.done; group = await next(groups)) yield group.value;
        } finally {
          await groups.return();
        }
      },
    };
  }

  /** Ends the current lap and starts the next. The first lap starts with the clock. */
  lap(): Lap {
    const now = performance.now(), calibration = this.#calibration;
    const layers = Math.max(0, (now - this.#lapStart) / 1000 - calibration);
    this.#lapStart = now;
    this.#calibration = 0;
    return { calibration, layers };
  }
}
