/** Shows the progress of a run on the terminal. */

import { numberText } from "../../prune/report/format.ts";
import type { FolderServices } from "../../prune/run/folder_destination.ts";
import { type Output, percentText, type ProgressDisplay } from "../terminal/output.ts";

/** Returns callbacks that show the progress of a run, and say what helps after a failure. */
export function progressCallbacks(progress: ProgressDisplay, output: Output): Partial<FolderServices> {
  let finished = 0, all = 0;
  return {
    onLayerDone: (done, total, event, secondsLeft) => {
      if (!event && done > 0) output.remark(`resuming ${place(done, total)}`);
      [finished, all] = [done, total];
      const error = event && numberText(event.report.relative_error);
      progress.step(done, total, event && `${event.name} relative error ${error}`, secondsLeft);
    },
    onAllocationStep: (done, total) => progress.note(`allocating ${percentText(done, total)}`),
    onCalibrationStep: ({ done, total, pass }, secondsLeft) =>
      progress.note(
        `${pass === "train" ? "reconstructing" : "calibrating"} ${percentText(done, total)}`,
        secondsLeft,
      ),
    onReconstruct: (block, { before, after }) =>
      progress.note(`block ${block} error ${numberText(before)}, reconstructed ${numberText(after)}`),
    onDamage: (description) => output.remark(`damaged: ${description}`),
    onUnfinished: (folder) => {
      progress.stop(); // a bar would erase the line when it is removed
      const where = all === 0 ? "from the files" : place(finished, all);
      output.remark(
        `stopped; the same command continues ${where} in ${folder}, or starts over with --restart`,
      );
    },
  };
}

/** Returns the words for the place where a run with `done` finished layers continues. */
function place(done: number, total: number): string {
  return done < total ? `at layer ${done + 1} of ${total}` : `after all ${total} layers`;
}
