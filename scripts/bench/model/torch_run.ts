/** `reference_model.py` on one checkpoint and one set of windows, a run each time it is asked. */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../lines.ts";
import { BEST_THREADING, SPIN_DOWN_MILLISECONDS } from "../torch.ts";
import type { ModelRun } from "./run.ts";

/** As published, or as good as `reference_model.py` knows to make it. */
export type ReferenceForm = "published" | "shared";

/** The reference as a process of its own; it is started, and PyTorch loaded, before any run is timed. Stop it when done. */
export class TorchModelReference {
  readonly #process: LineProcess;

  /** @param windowsFile a JSON list of windows of token ids */
  constructor(python: string, form: ReferenceForm, folder: string, windowsFile: string) {
    const script = fileURLToPath(new URL("./reference_model.py", import.meta.url));
    // -B: importing reference.py leaves no compiled copy in the tree.
    this.#process = new LineProcess(
      python,
      ["-B", script, "--form", form, folder, windowsFile],
      BEST_THREADING,
    );
  }

  /** Prunes into `out`. Takes a moment longer than that: until the machine is quiet again. */
  async prune(out: string): Promise<ModelRun> {
    const answer = await this.#process.ask(out);
    await new Promise((resolve) => setTimeout(resolve, SPIN_DOWN_MILLISECONDS));
    return JSON.parse(answer);
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}
