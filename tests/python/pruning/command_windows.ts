/**
 * Prints the calibration windows of `pare prune` as JSON, those that are fitted and those that are held out:
 * `command_windows.ts MODEL SAMPLES SEQLEN VALIDATION TEXT=SHARE…`.
 */

import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { loadTokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { readCalibration } from "../../../src/prune/read_calibration.ts";
import { parseSharedText } from "../../../src/prune/texts/named_texts.ts";

const [model, samples, seqlen, validation, ...texts] = Deno.args;
const tokenizer = await loadTokenizer(model, denoFileSystem);
const { windows, validationWindows } = await readCalibration(tokenizer, {
  calibration: texts.map(parseSharedText).map(({ text, share }) => ({ path: text, label: text, share })),
  samples: Number(samples),
  seqlen: Number(seqlen),
  validation: Number(validation),
}, denoFileSystem);
console.log(JSON.stringify([windows, validationWindows].map((part) => part.map((window) => [...window]))));
