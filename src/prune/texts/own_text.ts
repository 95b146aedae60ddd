/** The text that comes with Pare. Commands calibrate on it if no other text is given. `own/README.md` lists its sources. */

import { fileURLToPath } from "node:url";
import { parseSharedText, type TextFile, type TextUse } from "./named_texts.ts";

/** The name of the text in options. */
export const OWN_TEXT = "pare";

/** The tokens per window of a run that is calibrated on the text, which is too short for the default 128 windows of more tokens. */
export const OWN_TEXT_SEQLEN = 512;

/** The documents of the two files differ, so that an evaluation does not measure what the weights were fitted to. */
const FILES: Readonly<Record<TextUse, URL>> = {
  calibration: new URL("./own/calibration.jsonl", import.meta.url),
  evaluation: new URL("./own/evaluation.jsonl", import.meta.url),
};

/** Returns the file of the text. */
export function ownText(use: TextUse): TextFile {
  return { path: fileURLToPath(FILES[use]), label: OWN_TEXT };
}

/** Whether one of the values of `--calibration` is the text, with or without a share. */
export function hasOwnText(calibration: readonly string[]): boolean {
  return calibration.some((value) => parseSharedText(value).text === OWN_TEXT);
}
