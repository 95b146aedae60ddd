/** A disk that is full at every write of a run in turn. */

import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { fullFromWrite } from "../../support/failing_file_system.ts";
import { type FaultKind, require } from "../fault_kind.ts";
import { requireSameFiles } from "../same_files.ts";
import { TinyJob } from "../tiny_job.ts";

/** A disk that is full from one write of a run on, for every write of the run in turn (or for some of them, evenly spread). */
export const diskFull: FaultKind = {
  name: "disk_full",
  fault: "full disk at each write of a run in turn",
  survival: "The run fails with the reason, and continues to the same bytes when there is space.",
  processes: false,
  tries: { full: Infinity, test: 12 },
  async run(tries, tally) {
    await using job = await TinyJob.make();
    const counting = fullFromWrite(denoFileSystem, Infinity), expected = `${job.folder}/expected`;
    await job.run(expected, { fs: counting });
    const writes = counting.count(), stride = Math.max(1, writes / tries);
    for (let at = 0; at < writes; at += stride) {
      const write = Math.floor(at), out = `${job.folder}/full-${write}`;
      await tally.attempt(`write ${write} of ${writes}`, async () => {
        const reason = await job.run(out, { fs: fullFromWrite(denoFileSystem, write) })
          .then(() => "none", (error) => String(error.suppressed ?? error));
        require(reason.includes("no space left"), `the run ended with the error ${reason}`);
        require(!await exists(`${out}/config.json`), "an incomplete result has a config.json");
        await job.run(out);
        await requireSameFiles(out, expected);
      });
      await Deno.remove(out, { recursive: true }).catch(() => {});
    }
  },
};

function exists(path: string): Promise<boolean> {
  return Deno.stat(path).then(() => true, () => false);
}
