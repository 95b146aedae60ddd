/** `reference_model.py` on one checkpoint and one set of windows, a run each time it is asked. */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../lines.ts";
import { BEST_THREADING } from "../torch.ts";
import type { ModelRun } from "./run.ts";

/** The reference as a process of its own; it is started, and PyTorch loaded, before any run is timed. Stop it when done. */
export class TorchModelReference {
  readonly #process: LineProcess;

  /** @param windowsFile a JSON list of windows of token ids */
  constructor(python: string, folder: string, windowsFile: string) {
    const script = fileURLToPath(new URL("./reference_model.py", import.meta.url));
    // -B: importing reference.py leaves no compiled copy in the tree.
    this.#process = new LineProcess(python, ["-B", script, folder, windowsFile], BEST_THREADING);
  }

  /** Prunes into `out`. */
  async prune(out: string): Promise<ModelRun> {
    return JSON.parse(await this.#process.ask(out));
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}
