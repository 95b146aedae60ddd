/** Runs the scripts of this folder in a virtual environment. */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../processes/line_process.ts";
import { type Venv, VENVS } from "./venv.ts";

const ENVIRONMENT = {
  HF_HUB_OFFLINE: "1", // all files are in local folders, so the libraries must not ask the model hub
  HF_DATASETS_OFFLINE: "1",
  PYTHONPATH: fileURLToPath(new URL(".", import.meta.url)), // for the scripts in folders below this one
  TOKENIZERS_PARALLELISM: "false",
  OMP_NUM_THREADS: "1", // the models are so small that threads would only wait for each other
};

/** A running script. If a request fails, the error has the traceback of the script. */
export class PeerScript extends LineProcess {
  /** Starts `scripts/peers/NAME.py`. Call {@link stop} to end it. */
  constructor(name: string, { python }: Venv = VENVS.readers) {
    const path = fileURLToPath(new URL(`${name}.py`, import.meta.url));
    super(python, ["-B", path], { env: ENVIRONMENT });
  }
}
