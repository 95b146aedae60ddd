/**
 * Starts the PyTorch programs that the benches compare Pare with. They implement the published SparseGPT
 * algorithm and run with the fastest thread settings.
 */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../../processes/line_process.ts";

/**
 * The environment in which the PyTorch programs are fastest: all threads belong to OpenBLAS. If PyTorch's OpenMP pool has
 * threads as well, the two pools compete for the cores and a solve takes 2 to 4 times as long.
 */
const BEST_THREADING = {
  OMP_NUM_THREADS: "1",
  OPENBLAS_NUM_THREADS: String(navigator.hardwareConcurrency),
};

/**
 * The pause after each run. OpenBLAS's helper threads keep spinning for about 90 ms after the last matrix product, and each
 * of them occupies a core that the next timed program needs.
 */
const SPIN_DOWN_MILLISECONDS = 150;

/**
 * Finds a Python that can import torch and safetensors: the one that PARE_PYTHON names, `/usr/bin/python3`, or `python3` on
 * the path. Returns undefined if none of them can.
 */
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

/** A PyTorch program of this folder. It makes one run per line of input, so that a bench can alternate it with Pare. */
export class TorchProcess {
  readonly #process: LineProcess;

  /** Starts `script` with `args`. PyTorch is loaded before the first run. Call {@link stop} when done. */
  constructor(
    python: string,
    script: "reference_layer.py" | "reference_model.py",
    args: readonly string[],
  ) {
    const path = fileURLToPath(new URL(script, import.meta.url));
    // With -B, importing reference_layer.py writes no compiled copy into the source tree.
    this.#process = new LineProcess(python, ["-B", path, ...args], BEST_THREADING);
  }

  /** Makes one run and parses the JSON line that it prints. Returns after the helper threads have stopped spinning. */
  async run<Result>(line: string): Promise<Result> {
    const answer = await this.#process.ask(line);
    await new Promise((resolve) => setTimeout(resolve, SPIN_DOWN_MILLISECONDS));
    return JSON.parse(answer);
  }

  /** Ends the program. */
  stop(): Promise<void> {
    return this.#process.stop();
  }
}
