/** Tells how the time of a run is divided: what a source of layers takes for calibration, and what is done between. */

import type { LayerGroup, ModelSource } from "../../client/model_source.ts";

/** Counts from when it is made. */
export class LapClock {
  #lapStart = performance.now();
  #calibration = 0; // milliseconds of this lap

  /** `source`, with the time it takes for its next group counted as calibration. */
  calibrating(source: ModelSource): ModelSource {
    return { layerCount: source.layerCount, groups: () => this.#timed(source.groups()) };
  }

  /** Seconds since the lap before. */
  lap(): { calibration: number; layers: number } {
    const now = performance.now();
    const calibration = this.#calibration;
    const layers = Math.max(0, now - this.#lapStart - calibration);
    this.#lapStart = now;
    this.#calibration = 0;
    return { calibration: calibration / 1000, layers: layers / 1000 };
  }

  async *#timed(
    groups: AsyncGenerator<LayerGroup, void, undefined>,
  ): AsyncGenerator<LayerGroup, void, undefined> {
    try {
      for (;;) {
        const started = performance.now();
        const next = await groups.next();
        this.#calibration += performance.now() - started;
        if (next.done) return;
        yield next.value;
      }
    } finally {
      await groups.return();
    }
  }
}
