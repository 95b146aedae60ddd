/** Shows the progress of a run on the terminal. */

import { numberText } from "../../prune/report/format.ts";
import type { FolderServices } from "../../prune/run/folder_destination.ts";
import type { Output, ProgressDisplay } from "../terminal/output.ts";

/** Returns callbacks that show the progress of a run, and say what helps after a failure. */
export function progressCallbacks(progress: ProgressDisplay, output: Output): Partial<FolderServices> {
  return {
    onLayerDone: (done, total, event, secondsLeft) => {
      const error = event && numberText(event.report.relative_error);
      progress.step(done, total, event && `${event.name} relative error ${error}`, secondsLeft);
    },
    onAllocationStep: (done, total) => progress.note(`allocating ${done}/${total}`),
    onCalibrationStep: ({ done, total, pass }, secondsLeft) =>
      progress.note(`${pass === "train" ? "reconstructing" : "calibrating"} ${done}/${total}`, secondsLeft),
    onReconstruct: (block, { before, after }) =>
      progress.note(`block ${block} error ${numberText(before)}, reconstructed ${numberText(after)}`),
    onDamage: (description) => output.remark(`damaged: ${description}`),
    onUnfinished: (folder) =>
      output.remark(
        `the finished layers are in ${folder}; repeat the command to continue, or add --restart to start over`,
      ),
  };
}
