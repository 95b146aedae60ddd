/** Opens the model of the demo together with the texts that it is calibrated and measured on. */

import { fileURLToPath } from "node:url";
import { calibrationWindows } from "../../src/calibration/windows.ts";
import { denoFileSystem } from "../../src/cli/files/deno_file_system.ts";
import { type ModelFolder, openModelFolder } from "../../src/models/model.ts";
import { encodeText } from "../../src/models/tokenizer/tokenizer.ts";
import { sotuText } from "../fixtures/sotu_text.ts";

const FOLDER = fileURLToPath(new URL("../../tests/fixtures/models/opt-sotu", import.meta.url));

/**
 * Tokens per window. The model was trained on windows of this length, and its perplexity in `reference.json`
 * was measured on them.
 */
const SEQLEN = 256;
const CALIBRATION_WINDOWS = 64;
const EVALUATION_WINDOWS = 128;

/** The model of the demo and its texts as token ids. Dispose of it to close the files of the model. */
export interface DemoModel extends Pick<ModelFolder, "checkpoint" | "model">, AsyncDisposable {
  /** Tokens per window of both texts. */
  readonly seqlen: number;
  /** The calibration windows. */
  readonly calibration: readonly Uint32Array[];
  /** The evaluation text. Its first `evaluationWindows` windows are measured. */
  readonly evaluation: Uint32Array;
  readonly evaluationWindows: number;
}

/** Opens the checkpoint, the model and its tokenizer, and cuts the calibration text into windows. */
export async function openDemoModel(): Promise<DemoModel> {
  await using cleanup = new AsyncDisposableStack();
  const folder = cleanup.use(await openModelFolder(FOLDER, denoFileSystem));
  const tokenizer = await folder.loadTokenizer();
  const encodePart = async (part: "calibration" | "evaluation") =>
    encodeText(tokenizer, await sotuText(part), "txt");
  const calibration = calibrationWindows(await encodePart("calibration"), {
    windows: CALIBRATION_WINDOWS,
    seqlen: SEQLEN,
  });
  const evaluation = await encodePart("evaluation");
  const files = cleanup.move(); // the caller closes the files after this line
  return {
    checkpoint: folder.checkpoint,
    model: folder.model,
    seqlen: SEQLEN,
    calibration,
    evaluation,
    evaluationWindows: EVALUATION_WINDOWS,
    [Symbol.asyncDispose]: () => files.disposeAsync(),
  };
}
