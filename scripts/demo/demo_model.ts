/** Opens the model of the demo together with the texts that it is calibrated and measured on. */

import { calibrationWindows } from "../../src/layer/calibration/windows.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { type ModelFolder, openModelFolder } from "../../src/model/model.ts";
import { fixtureModel } from "../fixtures/trained_models.ts";

/** The model of the demo and its texts as token ids. Dispose of it to close the files of the model. */
export interface DemoModel extends Pick<ModelFolder, "checkpoint" | "model">, AsyncDisposable {
  readonly seqlen: number;
  readonly calibration: readonly Uint32Array[];
  /** The evaluation text. Its first `evaluationWindows` windows are measured. */
  readonly evaluation: Uint32Array;
  readonly evaluationWindows: number;
}

/** Opens the test model, and cuts the calibration text into windows. */
export async function openDemoModel(): Promise<DemoModel> {
  const fixture = fixtureModel("opt-sotu"), { seqlen } = fixture;
  const texts = await fixture.tokens();
  const calibration = calibrationWindows(texts.calibration, { windows: fixture.calibrationWindows, seqlen });
  const opened = await openModelFolder(fixture.folder, denoFileSystem);
  return {
    checkpoint: opened.checkpoint,
    model: opened.model,
    seqlen,
    calibration,
    evaluation: texts.evaluation,
    evaluationWindows: fixture.evaluationWindows,
    [Symbol.asyncDispose]: () => opened[Symbol.asyncDispose](),
  };
}
