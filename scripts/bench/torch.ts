/** PyTorch running the published algorithm (`reference.py`), in its best threading, as the benches' yardstick. */

import { fileURLToPath } from "node:url";
import { LineProcess } from "./lines.ts";

/** Seconds of one reference solve. */
export interface ReferenceRun {
  readonly seconds: { readonly factor: number; readonly solve: number; readonly total: number };
  readonly loss: number;
  readonly zeros: number;
}

/**
 * One pool of threads, OpenBLAS's: with PyTorch's OpenMP pool beside it the two fight over the cores and the solve
 * takes 2–4 times as long.
 */
export const BEST_THREADING = {
  OMP_NUM_THREADS: "1",
  OPENBLAS_NUM_THREADS: String(navigator.hardwareConcurrency),
};

/**
 * OpenBLAS's helper threads go on spinning for about 90 ms after the last product of a solve, each on a core that whatever is
 * timed next would have to do without.
 */
export const SPIN_DOWN_MILLISECONDS = 150;

/** A Python that can import torch and safetensors; PARE_PYTHON names one, else the usual places. Undefined where there is none. */
export async function findPython(): Promise<string | undefined> {
  for (const python of [Deno.env.get("PARE_PYTHON"), "/usr/bin/python3", "python3"]) {
    if (!python) continue;
    const probe = new Deno.Command(python, {
      args: ["-c", "import torch, safetensors"],
      stdout: "null",
      stderr: "null",
    });
    if (await probe.output().then((output) => output.success, () => false)) return python;
  }
}

/** `reference.py` on one layer file, a solve each time it is asked. */
export class TorchReference {
  readonly #process: LineProcess;

  constructor(python: string, layerFile: string) {
    const script = fileURLToPath(new URL("./reference.py", import.meta.url));
    this.#process = new LineProcess(python, [script, layerFile, "--on-demand"], BEST_THREADING);
  }

  /** Solves the layer once. Takes a moment longer than that: until the machine is quiet again. */
  async solve(): Promise<ReferenceRun> {
    const answer = await this.#process.ask("solve");
    await new Promise((resolve) => setTimeout(resolve, SPIN_DOWN_MILLISECONDS));
    return JSON.parse(answer);
  }

  stop(): Promise<void> {
    return this.#process.stop();
  }
}
