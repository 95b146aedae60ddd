/** Starts the PyTorch program that the bench `layers` compares Pare with, the published SparseGPT algorithm. */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../../processes/line_process.ts";
import { median } from "../measure/statistics.ts";
import { peerEnvironment } from "./peer_environment.ts";
import type { TorchCandidate } from "./thread_settings.ts";

/**
 * The pause after each run. OpenBLAS's helper threads keep spinning for about 90 ms after the last matrix product, and each
 * of them occupies a core that the next timed program needs.
 */
const SPIN_DOWN_MILLISECONDS = 150;

/** A trial that takes less time than this is repeated, because its first run also starts threads. */
const SHORT_TRIAL_SECONDS = 1;
/** The runs after the first one of a short trial. */
const SHORT_TRIAL_REPEATS = 3;

const SCRIPT = fileURLToPath(new URL("../python/reference_layer.py", import.meta.url));

/** The answer of one run. */
interface TorchRun {
  readonly seconds: { readonly total: number };
  readonly loss: number;
}

/** The program `reference_layer.py`. It makes one run per line of input, so that a bench can run it and Pare in turn. */
export class TorchProcess {
  readonly #process: LineProcess;

  /** Starts the program, which reads its layer from the file `layer`. Call {@link stop} when done. */
  constructor({ build, setting }: TorchCandidate, layer: string) {
    this.#process = new LineProcess(build.python, [SCRIPT, layer], {
      env: peerEnvironment(setting.variables),
      clearEnv: true,
    });
  }

  /** Makes one run, and returns after the helper threads have stopped spinning. */
  async run(): Promise<TorchRun> {
    const answer = await this.#process.ask<TorchRun>("solve");
    await new Promise((resolve) => setTimeout(resolve, SPIN_DOWN_MILLISECONDS));
    return answer;
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}

/**
 * Times a program for the choice of its setting. If the first run takes a second or more, its time is returned. Otherwise the first
 * run is discarded, and the median of three more runs is returned.
 */
export async function trialSeconds(candidate: TorchCandidate, layer: string): Promise<number> {
  const program = new TorchProcess(candidate, layer);
  const seconds = async () => (await program.run()).seconds.total;
  try {
    const first = await seconds();
    if (first >= SHORT_TRIAL_SECONDS) return first;
    const repeated: number[] = [];
    for (let i = 0; i < SHORT_TRIAL_REPEATS; i++) repeated.push(await seconds());
    return median(repeated);
  } finally {
    await program.stop();
  }
}
