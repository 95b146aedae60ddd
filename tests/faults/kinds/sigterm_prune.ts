/** SIGTERM of `pare prune` in every phase. */

import { sleep } from "../../../src/base/waiting.ts";
import { uniform } from "../../../scripts/fixtures/random.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { requireSameFiles } from "../same_files.ts";
import { makeTinyRun, sendSignal } from "../tiny_run.ts";
import { hasEnded, layersOf, phaseOf } from "./sigkill_prune.ts";

const SIGTERM_CODE = 143;

/** SIGTERM of `pare prune`, while it loads the model, after every number of layers, and while it completes the result. */
export const sigtermPrune: FaultKind = {
  name: "sigterm_prune",
  fault: "SIGTERM of `pare prune` in every phase",
  survival: "The process ends with code 143, and the same command continues and ends in the same bytes.",
  processes: true,
  tries: { full: 26, test: 3 },
  async run(tries, tally, seed) {
    await using tiny = await makeTinyRun();
    const random = uniform(seed);
    for (let i = 0; i < tries; i++) {
      const out = `${tiny.folder}/stopped-${i}`;
      // The first try comes while the process loads, and the last one after the last layer.
      const layers = Math.round(25 * i / Math.max(1, tries - 1)) - 1;
      await tally.attempt(`SIGTERM after ${layers} layers`, async () => {
        const run = tiny.start(out);
        if (layers < 0) await sleep(random() * 0.5 * tiny.milliseconds);
        else {
          while (run.printed() === "" && !await hasEnded(run, 2)) { /* waits */ }
          while (layersOf(run) < layers && !await hasEnded(run, 1)) { /* waits */ }
        }
        sendSignal(run, "SIGTERM");
        const { code, signal, stderr } = await run.ended;
        tally.hit(code === 0 ? "finished" : phaseOf(stderr));
        // Before the process listens for signals, the signal ends it at once. After the last phase it ends with 0.
        require([0, SIGTERM_CODE].includes(code), `ended with ${code} ${signal}: ${stderr}`);
        const again = await tiny.start(out).ended;
        require(again.code === 0, `the same command ended with ${again.code}: ${again.stderr}`);
        await requireSameFiles(out, tiny.expected);
      });
    }
  },
};
