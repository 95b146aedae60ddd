/** Declares tests that compare Pare with the libraries of a virtual environment. The scripts of `scripts/peers/` call these libraries. */

import { after, before, describe, it } from "@std/testing/bdd";
import { PeerScript } from "../../scripts/peers/peer_script.ts";
import { peersSkipReason, type Venv, VENVS } from "../../scripts/peers/venv.ts";

/** The scripts and a folder, while tests run. */
export interface Peers {
  /** The path of a folder that is removed after the tests. */
  readonly folder: string;
  /**
   * Sends a request to `scripts/peers/SCRIPT.py` and waits for the answer. The script is started by its first
   * request and answers all requests of this process.
   * @throws {Error} with the traceback of the script if the request fails
   */
  ask<Answer>(script: string, request: object): Promise<Answer>;
}

/** The running scripts by environment and name. All suites of this process share them, because importing transformers takes seconds. */
const scripts = new Map<string, PeerScript>();

/** The number of suites of this process that have not ended. */
let suites = 0;

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
  suites++;
  describe(title, () => {
    if (skip) {
      it(`is skipped: ${skip}`, { skip }, () => {});
      return;
    }
    let folder: string;
    before(async () => {
      folder = await Deno.makeTempDir({ prefix: "pare-peers-" });
    });
    after(async () => {
      suites--;
      if (suites === 0) await Promise.all([...scripts.values()].map((script) => script.stop()));
      await Deno.remove(folder, { recursive: true });
    });
    body(() => ({
      folder,
      ask(name, request) {
        const key = `${venv.python} ${name}`, script = scripts.get(key) ?? new PeerScript(name, venv);
        scripts.set(key, script);
        return script.ask(request);
      },
    }));
  });
}
