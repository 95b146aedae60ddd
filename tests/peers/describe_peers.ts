/**
 * Declares tests that compare Pare with the libraries of a virtual environment. The scripts of `scripts/peers/`
 * call these libraries.
 */

import { after, before, describe, it } from "@std/testing/bdd";
import { fileURLToPath } from "node:url";
import { LineProcess } from "../../scripts/bench/torch/line_process.ts";
import { peersSkipReason, type Venv, VENVS } from "../../scripts/peers/venv.ts";

/** The environment variables of every script. */
const ENVIRONMENT = {
  HF_HUB_OFFLINE: "1", // all files are in local folders, so the libraries must not ask the model hub
  HF_DATASETS_OFFLINE: "1",
  TOKENIZERS_PARALLELISM: "false",
  OMP_NUM_THREADS: "1", // the models are so small that threads would only wait for each other
};

/** The scripts and a folder, while tests run. */
export interface Peers {
  /** The path of a folder that is removed after the tests. */
  readonly folder: string;
  /**
   * Sends a request to `scripts/peers/SCRIPT.py` and waits for the answer. The script is started by its first
   * request and answers all requests of the tests.
   * @throws {Error} with the traceback of the script if the request fails
   */
  ask<Answer>(script: string, request: object): Promise<Answer>;
}

/**
 * Declares a suite with the tests of `body`. If the environment cannot be used, the suite has one skipped test,
 * whose title is the reason.
 * @param body receives a function that returns the scripts. It may be called only while tests run
 */
export async function describePeers(
  title: string,
  body: (peers: () => Peers) => void,
  venv: Venv = VENVS.readers,
): Promise<void> {
  const skip = await peersSkipReason(venv);
  describe(title, () => {
    if (skip) {
      it(`is skipped: ${skip}`, { skip }, () => {});
      return;
    }
    let folder: string;
    const processes = new Map<string, LineProcess>();
    before(async () => {
      folder = await Deno.makeTempDir({ prefix: "pare-peers-" });
    });
    after(async () => {
      for (const process of processes.values()) await process.stop();
      await Deno.remove(folder, { recursive: true });
    });
    body(() => ({
      folder,
      async ask<Answer>(script: string, request: object): Promise<Answer> {
        if (!processes.has(script)) processes.set(script, startScript(script, venv));
        const line = await processes.get(script)!.ask(JSON.stringify(request));
        const answer: Answer & { readonly error?: string } = JSON.parse(line);
        if (answer.error) throw new Error(answer.error);
        return answer;
      },
    }));
  });
}

function startScript(name: string, { python }: Venv): LineProcess {
  const path = fileURLToPath(new URL(`../../scripts/peers/${name}.py`, import.meta.url));
  return new LineProcess(python, ["-B", path], ENVIRONMENT);
}
