/** Runs a script of `scripts/peers/`, which answers requests with the libraries of the virtual environment. */

import { fileURLToPath } from "node:url";
import { LineProcess } from "../../scripts/bench/torch/line_process.ts";
import { type Venv, VENVS } from "../../scripts/peers/venv.ts";

/** The environment variables of every script. */
const ENVIRONMENT = {
  HF_HUB_OFFLINE: "1", // all files are in local folders, so the libraries must not ask the model hub
  OMP_NUM_THREADS: "1", // the models are so small that threads would only wait for each other
};

/** A running script. */
export class PeerProcess implements AsyncDisposable {
  readonly #process: LineProcess;

  /** Starts `scripts/peers/NAME.py`. Call {@link stop} to end it. */
  constructor(name: string, { python }: Venv = VENVS.readers) {
    const script = fileURLToPath(new URL(`../../scripts/peers/${name}.py`, import.meta.url));
    this.#process = new LineProcess(python, ["-B", script], ENVIRONMENT);
  }

  /** Sends a request and waits for the answer. @throws {Error} with the traceback of the script if it fails */
  async ask<Answer>(request: object): Promise<Answer> {
    const answer: Answer & { readonly error?: string } = JSON.parse(
      await this.#process.ask(JSON.stringify(request)),
    );
    if (answer.error) throw new Error(answer.error);
    return answer;
  }

  /** Ends the script and waits until it has ended. */
  async stop(): Promise<void> {
    await this.#process.stop();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }
}
