/** Divides the wall-clock time between the layers of a run into calibration and the rest. */

/** The seconds between two calls of {@link LapClock.lap}, divided into two parts. */
export interface Lap {
  /** Seconds in which windows ran through blocks. */
  readonly calibration: number;
  /** All other seconds of the lap: solving layers and writing them. */
  readonly layers: number;
}

/** A stopwatch that starts when it is constructed. */
export class LapClock {
  #calibration = 0;
  #lapStart = performance.now();

  /** Waits for `work`, and adds its seconds to the calibration, even if it fails. */
  async calibrating<T>(work: Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await work;
    } finally {
      this.#calibration += (performance.now() - started) / 1000;
    }
  }

  /** Waits for `work`, whose seconds are in no lap. */
  async leavingOut<T>(work: Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      return await work;
    } finally {
      this.#lapStart += performance.now() - started;
    }
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
