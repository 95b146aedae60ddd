/** The trained models that the bench of families prunes, each with the texts it can be judged on. */

import { fileURLToPath } from "node:url";
import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { encodeText, loadTokenizer, readTokens } from "../../../src/models/tokenizer/tokenizer.ts";
import { sotuText } from "../../sotu_text.ts";

/** A model and how it is measured. */
export interface BenchedModel {
  readonly name: string;
  readonly folder: string;
  /** Tokens a window, of either text: what the model was trained on. */
  readonly seqlen: number;
  readonly calibrationWindows: number;
  readonly evaluationWindows: number;
  /** The texts, tokenized. */
  tokens(): Promise<{ readonly calibration: Uint32Array; readonly evaluation: Uint32Array }>;
}

/** Our own models, on State of the Union addresses they were not trained on. */
const FIXTURES = ["opt-sotu", "bloom-sotu", "llama-sotu"];
/** Third-party data beside the repository, where there is any. */
const SHARED = fileURLToPath(new URL("../../../../shared", import.meta.url));

/** Those that are here. A missing one is told to `note`. */
export async function benchedModels(note: (text: string) => void): Promise<BenchedModel[]> {
  const models = FIXTURES.map(fixture);
  const stories = storiesModel();
  if (await denoFileSystem.list(stories.folder)) models.push(stories);
  else note(`${stories.name}: is left out, there is no ${stories.folder}`);
  return models;
}

function fixture(name: string): BenchedModel {
  const folder = fileURLToPath(new URL(`../../../tests/fixtures/models/${name}`, import.meta.url));
  return {
    name,
    folder,
    seqlen: 256,
    calibrationWindows: 64,
    evaluationWindows: 128,
    async tokens() {
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      const part = async (part: "calibration" | "evaluation") =>
        encodeText(tokenizer, await sotuText(part), "txt");
      return { calibration: await part("calibration"), evaluation: await part("evaluation") };
    },
  };
}

/** A LLaMA of 260 thousand parameters by Andrej Karpathy, on the stories of its own kind; its README gives this measure. */
function storiesModel(): BenchedModel {
  const folder = `${SHARED}/models/stories260K`;
  return {
    name: "stories260K",
    folder,
    seqlen: 512,
    calibrationWindows: 64,
    evaluationWindows: 106,
    async tokens() {
      const tokenizer = await loadTokenizer(folder, denoFileSystem);
      const part = (part: string) =>
        readTokens(tokenizer, `${SHARED}/text/tinystories-${part}.jsonl`, denoFileSystem);
      return { calibration: await part("calib"), evaluation: await part("eval") };
    },
  };
}
