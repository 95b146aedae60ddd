/**
 * The trained models that the demo and the benches `families`, `solvers`, `allocation` and `peers` prune, and
 * the texts that each model is calibrated and measured on.
 */

import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer, readTokens } from "../../../src/models/tokenizer/tokenizer.ts";
import { sotuText, writeSotuTexts } from "../../fixtures/sotu_text.ts";

/** A trained model and the settings of its measurement. */
export interface BenchedModel {
  readonly name: string;
  /** The folder of its checkpoint. */
  readonly folder: string;
  /** Tokens per window of both texts. The model was trained on windows of this length. */
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  /** Reads both texts and converts them to token ids. */
  tokens(): Promise<{ readonly calibration: Uint32Array; readonly evaluation: Uint32Array }>;
  /** Returns the paths of both texts, for programs that read files. Texts that are no files are written into `scratch`. */
  textFiles(scratch: string): Promise<{ readonly calibration: string; readonly evaluation: string }>;
}

/**
 * The test models of this repository. They were trained on State of the Union addresses (`sotu`) that are
 * older than the calibration and evaluation texts.
 */
const FIXTURES = ["opt-sotu", "bloom-sotu", "llama-sotu"];
/** An optional folder with third-party models and texts, next to the repository. */
const SHARED = fileURLToPath(new URL("../../../../shared", import.meta.url));

/** Lists the models that exist on this machine. A missing third-party model is reported to `log`. */
export async function listModels(log: (text: string) => void): Promise<BenchedModel[]> {
  const models = listFixtures();
  const stories = storiesModel();
  if (await denoFileSystem.list(stories.folder)) models.push(stories);
  else log(`${stories.name}: skipped, because there is no ${stories.folder}`);
  return models;
}

/** Lists the test models of this repository. */
export function listFixtures(): BenchedModel[] {
  return FIXTURES.map(fixtureModel);
}

/** Returns the test model `name` of this repository. */
export function fixtureModel(name: string): BenchedModel {
  const folder = fileURLToPath(new URL(`../../../tests/fixtures/models/${name}`, import.meta.url));
  return {
    name,
    folder,
    seqlen: 256,
    calibrationWindows: 64,
    evaluationWindows: 128,
    async tokens() {
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      const encodePart = async (part: "calibration" | "evaluation") =>
        encodeText(tokenizer, await sotuText(part), "txt");
      return { calibration: await encodePart("calibration"), evaluation: await encodePart("evaluation") };
    },
    textFiles: writeSotuTexts,
  };
}

/**
 * stories260K, a LLaMA model with 260 thousand parameters by Andrej Karpathy. It is calibrated and measured
 * on the same kind of stories that it was trained on.
 */
function storiesModel(): BenchedModel {
  const folder = `${SHARED}/models/stories260K`;
  const partFile = (part: string) => `${SHARED}/text/tinystories-${part}.jsonl`;
  return {
    name: "stories260K",
    folder,
    seqlen: 512,
    calibrationWindows: 64,
    evaluationWindows: 106,
    async tokens() {
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      const readPart = (part: string) => readTokens(tokenizer, partFile(part), denoFileSystem);
      return { calibration: await readPart("calib"), evaluation: await readPart("eval") };
    },
    textFiles: () => Promise.resolve({ calibration: partFile("calib"), evaluation: partFile("eval") }),
  };
}
