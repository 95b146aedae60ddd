/** Prints the calibration windows of `pare prune` as JSON: `command_windows.ts MODEL TEXT SAMPLES SEQLEN`. */

import { denoFileSystem } from "../../../src/cli/files/deno_file_system.ts";
import { loadTokenizer } from "../../../src/model/tokenizer/tokenizer.ts";
import { readCalibration } from "../../../src/prune/read_calibration.ts";

const [model, calibration, samples, seqlen] = Deno.args;
const tokenizer = await loadTokenizer(model, denoFileSystem);
const text = {
  calibration: [{ path: calibration, label: calibration, share: 1 }],
  samples: Number(samples),
  seqlen: Number(seqlen),
};
const { windows } = await readCalibration(tokenizer, text, denoFileSystem);
console.log(JSON.stringify(windows.map((window) => [...window])));
