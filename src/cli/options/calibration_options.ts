/** Declares the options of the calibration text, from which `pare prune` and `pare sweep` compute the statistics of layers. */

import type { Command } from "commander";
import { integer } from "./numbers.ts";

/** The number of calibration windows in the authors' code. */
const DEFAULT_SAMPLES = 128;

/** Declares `--calibration`, which must be given. */
export function addCalibrationOption(command: Command): Command {
  return command.requiredOption(
    "--calibration <file>",
    "text to calibrate on: .txt, or .jsonl with one document per line",
  );
}

/** Declares `--samples`. */
export function addSamplesOption(command: Command): Command {
  return command.option("--samples <n>", "number of calibration windows", integer(1), DEFAULT_SAMPLES);
}
