/** Chooses the build and the setting in which PyTorch solves a layer of one size fastest. */

import { writeLayerFile } from "../measure/layer_file.ts";
import type { Size } from "../measure/layer_sizes.ts";
import { chooseFastest, type Trial } from "../torch/choose_fastest.ts";
import { candidateTitle, type TorchCandidate } from "../torch/thread_settings.ts";
import { trialSeconds } from "../torch/torch_process.ts";

/** The trials of all candidates on a layer of (rows, cols). */
export interface LayerTrials {
  readonly rows: number;
  readonly cols: number;
  readonly trials: readonly Trial[];
}

/** The longest edge of a layer in a trial. The trials of a larger layer limit its edges to this length, because they would take too long. */
const LONGEST_EDGE = 4096;

/** Chooses the settings of PyTorch, and remembers the trials of each size. */
export class LayerSettings {
  readonly #candidates: readonly TorchCandidate[];
  readonly #chosen = new Map<string, TorchCandidate>();
  readonly #trials: LayerTrials[] = [];

  /** @param candidates the builds and settings to try */
  constructor(candidates: readonly TorchCandidate[]) {
    this.#candidates = candidates;
  }

  /** All trials so far. */
  get trials(): readonly LayerTrials[] {
    return this.#trials;
  }

  /** Returns the fastest candidate for layers of `size`, or undefined if there are no candidates. */
  async choose(size: Size): Promise<TorchCandidate | undefined> {
    if (this.#candidates.length === 0) return undefined;
    const [rows, cols] = size.map((edge) => Math.min(edge, LONGEST_EDGE));
    const known = this.#chosen.get(`${rows}x${cols}`);
    if (known) return known;
    const { best, trials } = await this.#tryAll(rows, cols);
    this.#chosen.set(`${rows}x${cols}`, best);
    this.#trials.push({ rows, cols, trials });
    return best;
  }

  async #tryAll(rows: number, cols: number) {
    const path = await Deno.makeTempFile({ suffix: ".safetensors" });
    try {
      await writeLayerFile(path, rows, cols);
      const args = [path, "--on-demand"];
      return await chooseFastest(
        this.#candidates,
        candidateTitle,
        (candidate) => trialSeconds(candidate, "reference_layer.py", args, "solve"),
      );
    } finally {
      await Deno.remove(path);
    }
  }
}
